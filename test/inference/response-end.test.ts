import { once } from 'node:events';
import { createServer, get, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { onceEnded } from '../../inference/response-end.ts';

/** What is told of a response that is answered so, once its connection is closed. */
async function toldOf(answer: (response: ServerResponse, hangUp: () => void) => void): Promise<boolean[]> {
  const told: boolean[] = [];
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const request = get({ port, host: '127.0.0.1', agent: false, headers: { connection: 'close' } });
  request.on('response', (response) => response.on('error', () => {}).resume()).on('error', () => {});
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  onceEnded(response, (isWhole) => told.push(isWhole));
  const closed = once(response, 'close');
  answer(response, () => request.destroy());
  await closed;
  server.close();
  await once(server, 'close');
  return told;
}

describe('the end of a response', () => {
  it('is told once, and that it is whole, where all was sent', async () => {
    expect(await toldOf((response) => response.end('all of it'))).toEqual([true]);
  });

  it('is told once, and that it is not whole, where the client went away', async () => {
    expect(await toldOf((_, hangUp) => hangUp())).toEqual([false]);
    expect(
      await toldOf((response, hangUp) => {
        response.write('a piece');
        hangUp();
      }),
    ).toEqual([false]);
  });

  it('is told where the server cut the connection', async () => {
    expect(await toldOf((response) => response.destroy())).toEqual([false]);
  });
});
