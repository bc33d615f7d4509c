// Runs the module in Node, with a native server at the other end of a pipe:
// node host.mjs MODULE PROGRAM
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';

const [module, program] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(await readFile(module), {});
const client = instance.exports;
const server = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
const now = () => performance.now();
let timer;

function work() {
    for (let len; (len = client.output(now())) > 0;) {
        // The memory may grow with any call, so what it held is looked up anew, and copied.
        server.stdin.write(new Uint8Array(client.memory.buffer, client.output_at(), len).slice());
    }
    if (client.state() !== 0) server.stdin.end();
    clearTimeout(timer);
    const wait = client.timeout(now());
    if (wait >= 0 && client.state() === 0) timer = setTimeout(work, wait + 1);
}

server.stdout.on('data', (bytes) => {
    const at = client.input(bytes.length);
    new Uint8Array(client.memory.buffer, at, bytes.length).set(bytes);
    client.receive(now());
    work();
});
server.on('exit', (code) => {
    clearTimeout(timer);
    const done = client.state() === 1 && code === 0;
    console.log(done ? 'two calls from WebAssembly were answered' : `state ${client.state()}, server ${code}`);
    process.exitCode = done ? 0 : 1;
});
setTimeout(() => server.kill(), 30_000).unref();
work();
