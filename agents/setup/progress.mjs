/**
 * Progress for people, on standard error only (standard output belongs to the program's own result): one redrawn line on
 * a terminal, a line now and then elsewhere.
 *
 * @module
 */

const REDRAW_MS = 100;
const SPARSE_MS = 15_000;
const SPARSE_PARTS = 4;

/**
 * @param {{ write(text: string): unknown, isTTY?: boolean, columns?: number }} stream
 * @param {{ now?: () => number }} [options] - `now` in milliseconds, monotonic
 */
export function createProgress(stream, options = {}) {
  const now = options.now ?? (() => performance.now());
  const terminal = stream.isTTY === true;
  let drawn = false;
  const clear = () => {
    if (drawn) stream.write('\r\x1b[2K');
    drawn = false;
  };

  return {
    /** Writes one line. @param {string} text */
    note(text) {
      clear();
      stream.write(`${text}\n`);
    },

    /**
     * Starts a bar of `total` bytes; `at` shows how far it is, `end` removes it (an unfinished bar stays as a line).
     *
     * @param {string} label
     * @param {number} total
     */
    bar(label, total) {
      const startedAt = now();
      let first = -1;
      let lastAt = Number.NEGATIVE_INFINITY;
      let lastPart = 0;
      return {
        /** @param {number} done */
        at(done) {
          const time = now();
          if (first < 0) first = done;
          if (terminal) {
            if (time - lastAt < REDRAW_MS && done < total) return;
            const seconds = Math.max(0.001, (time - startedAt) / 1000);
            stream.write(`\r\x1b[2K${drawBar(label, done, total, (done - first) / seconds, stream.columns ?? 80)}`);
            drawn = true;
            lastAt = time;
            return;
          }
          const part = Math.floor((SPARSE_PARTS * done) / total);
          if (lastAt === Number.NEGATIVE_INFINITY) {
            lastAt = time;
            lastPart = part;
          }
          if (part === lastPart && time - lastAt < SPARSE_MS) return;
          lastAt = time;
          lastPart = part;
          const speed = megabytes((done - first) / Math.max(0.001, (time - startedAt) / 1000));
          stream.write(`${label}: ${percent(done, total)} of ${megabytes(total)}, ${speed}/s\n`);
        },
        end: clear,
      };
    },

    /**
     * Says every now and then that something without a measure is still going on; returns what stops it.
     *
     * @param {string} label
     * @returns {() => void}
     */
    waiting(label) {
      const startedAt = now();
      const timer = setInterval(() => {
        clear();
        stream.write(`${label}: ${Math.round((now() - startedAt) / 1000)} s so far\n`);
      }, SPARSE_MS);
      return () => clearInterval(timer);
    },
  };
}

function drawBar(label, done, total, bytesPerSecond, columns) {
  const left = bytesPerSecond > 0 ? `${Math.ceil((total - done) / bytesPerSecond)} s left` : '';
  const figures = ` ${percent(done, total)} ${megabytes(done)}/${megabytes(total)} ${megabytes(bytesPerSecond)}/s ${left}`;
  const width = Math.max(0, Math.min(30, columns - label.length - figures.length - 4));
  const full = Math.min(width, Math.round((width * done) / total));
  return `${label} [${'#'.repeat(full)}${'-'.repeat(width - full)}]${figures}`.slice(0, Math.max(20, columns - 1));
}

function percent(done, total) {
  return `${Math.floor((100 * done) / total)}%`;
}

/** Bytes in units of 10^6, as people read them. @param {number} bytes */
export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
