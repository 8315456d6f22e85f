import { openReference } from '../../../../inference/exact/reference/reference-decoder.ts';
import { exactDecoderSuite } from '../../../support/exact-decoder-suite.ts';

exactDecoderSuite('reference', async (model, options) => openReference(model, options));
