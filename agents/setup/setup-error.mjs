/**
 * The one error of the set-up. It is plain JavaScript, apart from the errors of `attest/`, because it must work before
 * `npm ci` and without a compiler.
 *
 * @module
 */

/** An expected failure of the set-up: a code for programs, a message that says what to do. */
export class SetupError extends Error {
  name = 'SetupError';

  /**
   * @param {string} code
   * @param {string} message
   * @param {{ fatal?: boolean, cause?: unknown }} [options] - `fatal`: no other source can help (disk full, no access)
   */
  constructor(code, message, options = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fatal = options.fatal ?? false;
  }
}

const FILE_FAULTS = new Map([
  ['ENOSPC', ['DISK_FULL', 'no space left on the disk of']],
  ['EDQUOT', ['DISK_FULL', 'disk quota used up for']],
  ['EFBIG', ['DISK_FULL', 'file size limit reached for']],
  ['EACCES', ['NOT_WRITABLE', 'no permission for']],
  ['EPERM', ['NOT_WRITABLE', 'no permission for']],
  ['EROFS', ['NOT_WRITABLE', 'read-only file system under']],
  ['ENOTDIR', ['NOT_WRITABLE', 'a file stands where a folder is needed for']],
  ['EISDIR', ['NOT_WRITABLE', 'a folder stands where a file is needed:']],
]);

/**
 * Puts a fault of the file system into words; gives back anything else as it is.
 *
 * @param {unknown} error
 * @param {string} path - what was being written
 * @param {string} [elsewhere] - what else may be done than to mend the fault
 */
export function toFileError(error, path, elsewhere = ', or name another folder in TRACEBOND_CACHE') {
  const fault = FILE_FAULTS.get(/** @type {{ code?: string }} */ (error)?.code ?? '');
  if (fault === undefined) return error;
  const hint = fault[0] === 'DISK_FULL' ? 'make room' : 'mend that';
  return new SetupError(fault[0], `${fault[1]} ${path}; ${hint}${elsewhere}`, {
    fatal: true,
    cause: error,
  });
}

/**
 * Short reason of a failure, for a list of what was tried.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function describeFault(error) {
  if (error instanceof SetupError) return error.message;
  const fault = /** @type {{ code?: string, message?: string, errors?: unknown[] }} */ (error);
  if (fault?.errors?.length) return describeFault(fault.errors[0]);
  switch (fault?.code) {
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'host name not found (no network?)';
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'connection broken';
    case 'ENETUNREACH':
    case 'EHOSTUNREACH':
      return 'network not reachable';
    case 'ETIMEDOUT':
      return 'connection timed out';
    default:
      return fault?.message || fault?.code || String(error);
  }
}
