/**
 * The client that the conformance package starts, `PORT URL`: it has a process that listens on the port use the server at the URL, and ends as
 * that says.
 *
 * @module
 */

const [port, url] = process.argv.slice(2);
const { MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_CONTEXT: context = 'null' } = process.env;
const body = JSON.stringify({ scenario, url, context: JSON.parse(context) });
const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body });
console.log(await response.text());
process.exitCode = response.ok ? 0 : 1;
