/** The machinery of a program that is alone with its runs. */

import { openEmbeddedInbox } from '../../../runtime/queue/embedded-inbox.ts';
import { openEmbeddedQueue } from '../../../runtime/queue/embedded-queue.ts';
import { openFileStore } from '../../../runtime/queue/file-store.ts';
import { describeMachinery } from '../../support/queue-suite.ts';
import { temporaryFolder } from '../../support/temporary.ts';

describeMachinery('embedded', async () => {
  const folder = temporaryFolder();
  return {
    isShared: false,
    open: async () => ({
      queue: openEmbeddedQueue({ maxActive: 64, onFault: () => undefined }),
      store: await openFileStore(folder),
      inbox: openEmbeddedInbox(),
      isShared: false,
    }),
  };
});
