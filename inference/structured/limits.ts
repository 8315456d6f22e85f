/**
 * What a schema may cost. Beyond these it is refused with `SCHEMA_TOO_LARGE`; none depends on the machine's speed, so the
 * same schema is served or refused everywhere.
 *
 * @module
 */

/** Limits of one grammar. */
export const GRAMMAR_LIMITS = {
  /** Schemas within the schema. */
  nodes: 20_000,
  /** Nesting of the schema's own text. */
  schemaDepth: 100,
  /** Alternatives of one value after unions are multiplied out. */
  alternatives: 256,
  /** Conjunctions of schemas that values are checked against. */
  rules: 20_000,
  /** Alternatives of all of them together. */
  allAlternatives: 100_000,
  /** Properties named by one object schema. */
  properties: 5_000,
  /** Members that an object with additional properties must have. */
  requiredMembers: 64,
  /** Patterns of `patternProperties` over one object. */
  patternProperties: 5,
  /** Bytes of the names and listed values, and items by their place, of all rules together. */
  allText: 600_000,
  /** Values of one `enum`. */
  enumValues: 10_000,
  /** Characters of a pattern, and nesting of its groups. */
  patternLength: 20_000,
  patternDepth: 100,
  /** States of one automaton over characters. */
  textStates: 6_000,
  /** Steps of making one automaton, and of all together. */
  textWork: 300_000,
  allTextWork: 1_500_000,
  /** Entries of the tables over states and lengths that length limits need. */
  lengthTable: 2_000_000,
  /** States of an automaton over the digits of numbers. */
  numberStates: 60_000,
  /** Nesting of what the shortest texts of rules are made of. */
  rounds: 400,
  /** Bytes of the shortest text. */
  shortest: 16_384,
  /** Nesting that a text may freely have; deeper, only what the schema requires is written. */
  freeDepth: 64,
  /** Ways to read one text that are followed at once; later ones are left out. */
  readings: 256,
} as const;
