/**
 * A travel desk: no `run`, so the built-in loop lets the model look for flights and book one, which a person has to approve.
 *
 * @module
 */

import { defineAgent } from 'tracebond';
import { bookFlight, findFlights } from './tools.ts';

export default defineAgent({
  name: 'travel-desk',
  model: 'smollm2-135m-instruct',
  instructions:
    'You are a travel desk. Look for flights before you book, book only what the traveller asked for, and end with one sentence that names the booking.',
  tools: [findFlights, bookFlight],
  maxSteps: 6,
  maxTokens: 200,
});
