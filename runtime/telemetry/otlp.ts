/**
 * Spans sent to a collector over OTLP, in batches, as JSON over HTTP.
 *
 * @module
 */

import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { createRunSpans, type RunSpans } from './spans.ts';

/**
 * Opens the way to a collector; nothing is sent before there is a span.
 *
 * @param endpoint - base URL of the collector, `/v1/traces` is added
 */
export function openOtlpSpans(
  endpoint: string,
  options: Pick<createRunSpans.Options, 'parentOf'> & { readonly version: string },
): RunSpans {
  const { version, ...rest } = options;
  const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`;
  const resource = resourceFromAttributes({ 'service.name': 'tracebond', 'service.version': version });
  return createRunSpans([new BatchSpanProcessor(new OTLPTraceExporter({ url }))], { ...rest, resource });
}
