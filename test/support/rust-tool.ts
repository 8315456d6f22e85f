/**
 * A tool written in Rust, compiled where Rust's compiler for WASI is.
 *
 * @module
 */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const COMPILER = 'rustc';

const SOURCE = `
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    eprintln!("got {} bytes", input.len());
    match input.trim_matches('"') {
        "panic" => panic!("as asked"),
        "exit" => std::process::exit(3),
        "memory" => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop { all.push(vec![1; 1 << 20]); }
        }
        "deep" => println!("{}", deep(&mut [0; 64], 0)),
        "loop" => loop { std::hint::black_box(0); },
        "file" => println!("{:?}", std::fs::read_to_string("/etc/passwd").is_err()),
        "net" => println!("{:?}", std::net::TcpStream::connect("127.0.0.1:1").is_err()),
        _ => {
            // The order of a HashMap comes from random_get.
            let map: HashMap<u32, u32> = (0..8).map(|i| (i, i)).collect();
            let order: Vec<String> = map.keys().map(|k| k.to_string()).collect();
            let mut words = BTreeMap::new();
            for word in input.split(' ') { *words.entry(word.len()).or_insert(0) += 1; }
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let args: Vec<String> = std::env::args().collect();
            println!("{{\\"order\\":[{}],\\"sizes\\":{},\\"time\\":{},\\"args\\":{:?},\\"vars\\":{}}}",
                order.join(","), words.len(), time, args, std::env::vars().count());
        }
    }
}

fn deep(buffer: &mut [u8; 64], n: u64) -> u64 {
    buffer[(n % 64) as usize] += 1;
    let mut next = *buffer;
    if n == u64::MAX { 0 } else { 1 + deep(&mut next, n + 1) + next[0] as u64 }
}
`;

/**
 * Compiles the tool.
 *
 * @param folder - an empty folder
 * @returns undefined where there is no compiler for \`wasm32-wasip1\`
 */
export function compileRustTool(folder: string): Uint8Array | undefined {
  const source = join(folder, 'tool.rs');
  const target = join(folder, 'tool.wasm');
  writeFileSync(source, SOURCE);
  try {
    const args = ['--edition', '2021', '--target', 'wasm32-wasip1', '-O', '-o', target, source];
    execFileSync(COMPILER, args, { stdio: 'pipe', timeout: 120_000 });
  } catch {
    return undefined;
  }
  return new Uint8Array(readFileSync(target));
}
