/**
 * The secrets that a policy names: whether they are all there, and how they are kept out of everything that is recorded.
 *
 * @module
 */

import type { PolicyRules } from '../attest/trace/policy.ts';
import { createRedactor, type Redactor, SecretError, type Secrets, templateSecrets } from './secrets.ts';

/** Names of the secrets in the header templates of a policy, each once. */
export function secretsOf(policy: PolicyRules): readonly string[] {
  const grants = [...policy.agent, ...policy.tools.flatMap((tool) => tool.grants)];
  const names = grants.flatMap((grant) =>
    grant.capability === 'http.fetch' ? grant.headers.flatMap(({ value }) => templateSecrets(value)) : [],
  );
  return [...new Set(names)];
}

/**
 * A redactor for every secret of a policy: what a tool is sent by one server is redacted for the secrets of all.
 *
 * @throws {@link SecretError} `UNKNOWN_SECRET` for one that is not there, `UNSAFE_SECRET` for one that cannot be redacted,
 *   `MALFORMED_TEMPLATE`
 */
export function redactorOf(policy: PolicyRules, secrets: Secrets | undefined): Redactor {
  const values: Record<string, string> = {};
  for (const name of secretsOf(policy)) {
    const value = secrets?.get(name);
    if (value === undefined) throw new SecretError('UNKNOWN_SECRET', `there is no secret ${name}`, { at: { name } });
    values[name] = value;
  }
  return createRedactor(values);
}
