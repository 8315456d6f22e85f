/**
 * Tools of the travel desk. Prices are integers in cents: records hold no floating point numbers.
 *
 * @module
 */

import { defineTool } from 'tracebond';
import { z } from 'zod';

const Flight = z.object({
  code: z.string(),
  from: z.string(),
  to: z.string(),
  departs: z.string(),
  cents: z.number().int(),
});

/** The timetable, which a real desk would fetch. */
const TIMETABLE: readonly z.infer<typeof Flight>[] = [
  { code: 'TB101', from: 'Oslo', to: 'Lisbon', departs: '2026-05-04 08:10', cents: 18900 },
  { code: 'TB205', from: 'Oslo', to: 'Lisbon', departs: '2026-05-04 17:45', cents: 12900 },
  { code: 'TB310', from: 'Oslo', to: 'Vienna', departs: '2026-05-05 09:30', cents: 9900 },
];

/** Finds the flights between two cities. */
export const findFlights = defineTool({
  name: 'find_flights',
  description: 'Finds flights between two cities, with departure and price in cents.',
  inputSchema: z.object({ from: z.string(), to: z.string() }),
  outputSchema: z.object({ flights: z.array(Flight) }),
  async execute({ from, to }) {
    return { flights: TIMETABLE.filter((flight) => flight.from === from && flight.to === to) };
  },
});

/** Books a flight once a person has approved it, and keeps the booking in the tool's own store. */
export const bookFlight = defineTool({
  name: 'book_flight',
  description: 'Books a flight for a passenger. A person has to approve it first.',
  inputSchema: z.object({ code: z.string(), passenger: z.string() }),
  capabilities: { approve: true, kv: true, random: true },
  async execute({ code, passenger }, ctx) {
    const flight = TIMETABLE.find((candidate) => candidate.code === code);
    if (flight === undefined) throw new Error(`there is no flight ${code}`);
    const { approved, note } = await ctx.approve({
      summary: `Book ${code} for ${passenger}, ${flight.cents} cents?`,
      details: { flight, passenger },
      timeoutMs: 86_400_000,
    });
    if (!approved) return { booked: false, reason: note };
    const reference = (await ctx.random(3)).slice(2).toUpperCase();
    await ctx.kv.put(`bookings/${reference}`, JSON.stringify({ code, passenger }));
    return { booked: true, reference, cents: flight.cents };
  },
});
