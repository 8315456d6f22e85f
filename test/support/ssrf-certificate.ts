/**
 * A certificate for tests of TLS, signed by itself, and its key: for `books.example.com` and `127.0.0.1`, from 2020 to
 * 2120. Made with `openssl ca -selfsign` over a key of P-256; it protects nothing.
 *
 * @module
 */

const CERTIFICATE =
  'MIIBeTCCAR+gAwIBAgIBATAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA5UcmFjZWJvbmQgdGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8y' +
  'MTIwMDEwMTAwMDAwMFowGTEXMBUGA1UEAwwOVHJhY2Vib25kIHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR9lCLLhMwl' +
  'JOrG6wbk/6NW996SYSFnGFwgvHbak/TrHgmPSFbLHdCB/RYJhI3BdhP2MAKw+50h8noo76+vgqL/o1YwVDAiBgNVHREEGzAZghFi' +
  'b29rcy5leGFtcGxlLmNvbYcEfwAAATAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBRRM003i8xNTIy0iMjYQfA72UkHHzAKBggq' +
  'hkjOPQQDAgNIADBFAiB29MTug4yrh1UQ7MW9FdldDzivRLxqQHYPvaT7L085tQIhAKjZD5hsM+d2x15wX++1rUet7k7AomJEQLXw' +
  'inUdCPdd';

const KEY =
  'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOxzC7ud6PaP/X6ZTGpaytw2b5aH2PI+RJU9z8JmBNRuhRANCAAR9' +
  'lCLLhMwlJOrG6wbk/6NW996SYSFnGFwgvHbak/TrHgmPSFbLHdCB/RYJhI3BdhP2MAKw+50h8noo76+vgqL/';

const pem = (label: string, base64: string): string =>
  `-----BEGIN ${label}-----\n${base64.replace(/(.{64})/g, '$1\n')}\n-----END ${label}-----\n`;

/** The certificate in PEM. */
export const TEST_CERTIFICATE = pem('CERTIFICATE', CERTIFICATE);

/** Its private key in PEM. */
export const TEST_KEY = pem('PRIVATE KEY', KEY);
