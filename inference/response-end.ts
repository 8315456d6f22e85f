/**
 * When a response is over, whatever became of it. Fastify's `onResponse` does not run for a client that went away.
 *
 * @module
 */

import type { ServerResponse } from 'node:http';

/**
 * Acts once, when a response was sent or its connection was lost.
 *
 * @param act - told whether all of the response was handed to the connection
 */
export function onceEnded(response: ServerResponse, act: (isWhole: boolean) => void): void {
  const onFinish = () => settle(true);
  const onClose = () => settle(response.writableFinished);
  const settle = (isWhole: boolean) => {
    response.off('finish', onFinish).off('close', onClose);
    act(isWhole);
  };
  response.on('finish', onFinish).on('close', onClose);
}
