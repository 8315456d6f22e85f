/**
 * Scripts that the Redis server runs whole or not at all; the only writers of the keys of runs.
 *
 * S1. Whatever a claim writes checks its token first, in the same script: `fenced` once another has claimed the run.
 * S2. A script that is run twice with the same arguments does no more than once: the reply of the first may have been lost.
 * S3. Every change that others have to hear of is in the stream of events when the script returns, with the next number.
 *
 * Keys, always in this order: run (hash), journal (stream), signed (string), words (list), status (hash of all runs), live (set of all runs),
 * events (stream), events number. Arguments begin with the run and the process. Spec: `runtime/spec/machines.md#keys`.
 *
 * @module
 */

import { createHash } from 'node:crypto';
import type { RedisScript } from './redis-connect.ts';

/** Events that are kept; who was away for longer reads everything again. */
export const EVENTS_KEPT = 10_000;
/** Words that may wait for one run. */
export const MAX_WORDS = 1_000;
/** Letters of the id of a word, with which its entry in the list begins. */
export const WORD_ID_LENGTH = 32;
/** Seconds for which a reply, and that a word was said, are remembered. */
const REMEMBERED_S = 300;

const PRELUDE = `
local META, JOURNAL, SIGNED, WORDS, STATUS, LIVE, EVENTS, NUMBER = unpack(KEYS)
local RUN, FROM = ARGV[1], ARGV[2]
local function tell(kind, body)
  local n = redis.call('INCR', NUMBER)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', ${EVENTS_KEPT}, '*', 'n', n, 'from', FROM, 'kind', kind, 'run', RUN, 'body', body or '')
end
local function holds(token) return redis.call('HGET', META, 'token') == token end
`;

/** For the id of a run's word, how it ended: `code` is empty for one that was heard. */
const REPLY = `
local function reply(id, code, message)
  local body = id .. code .. ' ' .. message
  redis.call('SET', WORDS .. ':reply:' .. id, body, 'EX', ${REMEMBERED_S})
  tell('reply', body)
end
`;

/** Adds pieces `ARGV[first]` and on as one entry each; the ids are `sequence-0`, `sequence-1`, ... Each names the claim and process it is of. */
const ADD = `
local function add(token, sequence, offset, first)
  local of = token .. ':' .. FROM
  for i = first, #ARGV do
    redis.call('XADD', JOURNAL, sequence .. '-' .. (i - first), 'o', string.format('%d', offset), 'of', of, 'b', ARGV[i])
    offset = offset + #ARGV[i]
  end
end
`;

const script = (lua: string): RedisScript => {
  const whole = PRELUDE + lua;
  return { lua: whole, sha: createHash('sha1').update(whole).digest('hex') };
};

/** `id`, status, bytes, pieces: 1 if the journal was begun by this call or an earlier one of the same id, 0 if another began it. */
export const CREATE = script(`${ADD}
local _, _, id, status, bytes = unpack(ARGV, 1, 5)
if redis.call('HEXISTS', META, 'seq') == 1 then
  return redis.call('HGET', META, 'created') == id and 1 or 0
end
redis.call('DEL', JOURNAL, SIGNED)
redis.call('HSETNX', META, 'token', '0')
redis.call('HSET', META, 'created', id, 'seq', '1', 'bytes', bytes)
add('0', '1', 0, 6)
redis.call('HSET', STATUS, RUN, status)
redis.call('SADD', LIVE, RUN)
tell('status')
return 1
`);

/** Nothing: the new token, or nil if the run has no journal. */
export const CLAIM = script(`
if redis.call('HEXISTS', META, 'seq') == 0 then return nil end
redis.call('HDEL', META, 'ear')
return tostring(redis.call('HINCRBY', META, 'token', 1))
`);

/**
 * Token, bytes to keep, status: `{'kept', sequence}`, or `fenced`, or `lost` if fewer bytes are there.
 *
 * An entry that is cut in two leaves its first part under a new id.
 */
export const PROCEED = script(`
local _, _, token, keep, status = unpack(ARGV)
if not holds(token) then return {'fenced'} end
local bytes, kept = tonumber(redis.call('HGET', META, 'bytes')), tonumber(keep)
if bytes == nil or kept > bytes then return {'lost'} end
local seq = redis.call('HGET', META, 'seq')
while bytes > kept do
  local entry = redis.call('XREVRANGE', JOURNAL, '+', '-', 'COUNT', 1)[1]
  local start = entry and entry[2][1] == 'o' and tonumber(entry[2][2])
  if not start then return {'lost'} end
  redis.call('XDEL', JOURNAL, entry[1])
  bytes = start
  if start < kept then
    seq = string.format('%d', tonumber(seq) + 1)
    redis.call('XADD', JOURNAL, seq .. '-0', 'o', entry[2][2], 'of', token .. ':' .. FROM, 'b', string.sub(entry[2][6], 1, kept - start))
    bytes = kept
  end
end
redis.call('HSET', META, 'seq', seq, 'bytes', keep)
-- A run that is over is taken up once more only to find that it is.
if not redis.call('HGET', META, 'over') then
  redis.call('HSET', STATUS, RUN, status)
  redis.call('SADD', LIVE, RUN)
  tell('status')
end
return {'kept', seq}
`);

/**
 * Token, channel, sequence before, sequence, bytes before, bytes, pieces: `kept`, `fenced`, or `lost` if the journal is not as it was left.
 */
export const APPEND = script(`${ADD}
local _, _, token, channel, before, seq, offset, bytes = unpack(ARGV, 1, 8)
if not holds(token) then return 'fenced' end
local at = redis.call('HMGET', META, 'seq', 'bytes')
if at[1] == seq and at[2] == bytes then
  local have = redis.call('XRANGE', JOURNAL, seq .. '-0', seq .. '-' .. (#ARGV - 8))
  if #have ~= #ARGV - 8 then return 'lost' end
  for i, entry in ipairs(have) do
    if entry[2][6] ~= ARGV[8 + i] then return 'lost' end
  end
  return 'kept'
end
if at[1] ~= before or at[2] ~= offset or redis.call('EXISTS', JOURNAL) == 0 then return 'lost' end
add(token, seq, tonumber(offset), 9)
redis.call('HSET', META, 'seq', seq, 'bytes', bytes)
redis.call('PUBLISH', channel, RUN)
return 'kept'
`);

/** Token: 1 if it holds. */
export const CHECK = script(`return holds(ARGV[3]) and 1 or 0`);

/** Token, status, `over`/`live`/`rests`, milliseconds for which the journal stays, where the bundle lies: `kept` or `fenced`. */
export const REST = script(`
local _, _, token, status, how, stays, home = unpack(ARGV)
if not holds(token) then return 'fenced' end
redis.call('HSET', STATUS, RUN, status)
if how == 'live' then redis.call('SADD', LIVE, RUN) else redis.call('SREM', LIVE, RUN) end
if how == 'over' then
  redis.call('HSET', META, 'over', '1', 'home', home)
  redis.call('PEXPIRE', JOURNAL, stays)
  redis.call('PEXPIRE', SIGNED, stays)
end
tell('status')
return 'kept'
`);

/** Token: `kept` or `fenced`. The token itself stays, so that no later claim has the one of an earlier. */
export const DISCARD = script(`
if not holds(ARGV[3]) then return 'fenced' end
redis.call('HDEL', META, 'created', 'seq', 'bytes', 'ear', 'over', 'home')
redis.call('DEL', JOURNAL, SIGNED)
redis.call('HDEL', STATUS, RUN)
redis.call('SREM', LIVE, RUN)
return 'kept'
`);

/** Token, bytes before, bytes to add: `kept`, `fenced`, or `lost`. */
export const SIGN = script(`
local _, _, token, before, added = unpack(ARGV)
if not holds(token) then return 'fenced' end
local length, offset = redis.call('STRLEN', SIGNED), tonumber(before)
if length == offset then
  redis.call('APPEND', SIGNED, added)
  return 'kept'
end
local isThere = length == offset + #added and redis.call('GETRANGE', SIGNED, offset, -1) == added
return isThere and 'kept' or 'lost'
`);

/** Status: the run is over and loses its payloads. */
export const WITHHOLD = script(`
redis.call('HSET', STATUS, RUN, ARGV[3])
redis.call('SREM', LIVE, RUN)
redis.call('DEL', JOURNAL)
tell('status')
return 'kept'
`);

/** Word (id and JSON): `over`, `full`, `attached` or `waits`. */
export const SAY = script(`
local word = ARGV[3]
local id = string.sub(word, 1, ${WORD_ID_LENGTH})
local state = redis.call('HMGET', META, 'over', 'ear', 'token')
if redis.call('SET', WORDS .. ':said:' .. id, '1', 'NX', 'EX', ${REMEMBERED_S}) then
  if state[1] then return 'over' end
  if redis.call('LLEN', WORDS) >= ${MAX_WORDS} then return 'full' end
  redis.call('RPUSH', WORDS, word)
  tell('word', id)
end
local isHeard = state[2] and state[3] and string.sub(state[2], 1, #state[3] + 1) == state[3] .. ':'
return isHeard and 'attached' or 'waits'
`);

/** Token, ear: the words that wait; none if the token does not hold. */
export const ATTACH = script(`
local _, _, token, ear = unpack(ARGV)
if not holds(token) then return {} end
redis.call('HSET', META, 'ear', ear)
return redis.call('LRANGE', WORDS, 0, -1)
`);

/** Id, code, message, word to take away or nothing. */
export const REPLY_TO = script(`${REPLY}
local _, _, id, code, message, word = unpack(ARGV)
if word ~= '' then redis.call('LREM', WORDS, 1, word) end
reply(id, code, message)
return 'kept'
`);

/** Token, ear, words to take away: how many wait then; 0 if the token does not hold, since its holder hears them. */
export const HUSH = script(`
local _, _, token, ear = unpack(ARGV, 1, 4)
if not holds(token) then return 0 end
if redis.call('HGET', META, 'ear') == ear then redis.call('HDEL', META, 'ear') end
for i = 5, #ARGV do redis.call('LREM', WORDS, 1, ARGV[i]) end
return redis.call('LLEN', WORDS)
`);

/** Code, message: refuses every word that waits. */
export const REFUSE = script(`${REPLY}
for _, word in ipairs(redis.call('LRANGE', WORDS, 0, -1)) do
  reply(string.sub(word, 1, ${WORD_ID_LENGTH}), ARGV[3], ARGV[4])
end
redis.call('DEL', WORDS)
return 'kept'
`);
