/**
 * A password from the terminal, without showing it.
 *
 * @module
 */

import { KeystoreError } from '../../attest/bond/errors.ts';

/**
 * Asks on standard error and reads a line of standard input without echo.
 *
 * @throws {@link KeystoreError} `PASSWORD_EMPTY` where standard input is no terminal, or on Ctrl-C and Ctrl-D
 */
export function readPassword(question: string): Promise<string> {
  const input = process.stdin;
  if (!input.isTTY) {
    const message = 'no password: set TRACEBOND_PASSWORD, or run this in a terminal';
    return Promise.reject(new KeystoreError('PASSWORD_EMPTY', message));
  }
  process.stderr.write(question);
  return new Promise((resolve, reject) => {
    let text = '';
    const end = () => {
      input.removeListener('data', read);
      input.setRawMode(false);
      input.pause();
      process.stderr.write('\n');
    };
    const read = (chunk: string) => {
      for (const character of chunk) {
        if (character === '\r' || character === '\n') {
          end();
          return resolve(text);
        }
        if (character === '\u0003' || character === '\u0004') {
          end();
          return reject(new KeystoreError('PASSWORD_EMPTY', 'no password was given'));
        }
        if (character === '\u007f' || character === '\b') text = [...text].slice(0, -1).join('');
        else text += character;
      }
    };
    input.setEncoding('utf8');
    input.setRawMode(true);
    input.on('data', read);
    input.resume();
  });
}
