// Four loops over float32 numbers in WebAssembly's 128-bit vectors, assembled here byte by byte:
// nothing has to be built, and the code that runs is the code that is read.

const [I32, F32, V128] = [0x7f, 0x7d, 0x7b];
const [LOOP, END, REPEAT_IF, EMPTY] = [0x03, 0x0b, 0x0d, 0x40];
const [ADDRESS_ADD, ADDRESS_LESS] = [0x6a, 0x49];

/** An unsigned number in the format's variable length (LEB128). */
function leb(number) {
  const bytes = [];
  for (let left = number; ; left >>>= 7) {
    bytes.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    if (left <= 0x7f) return bytes;
  }
}

const vector = (code) => [0xfd, ...leb(code)];
const [ADD, MULTIPLY, LEAST, GREATEST] = [0xe4, 0xe6, 0xea, 0xeb].map(vector);
const [LESS, MORE, AND, SPLAT] = [0x43, 0x44, 0x4e, 0x13].map(vector);
const get = (local) => [0x20, ...leb(local)];
const set = (local) => [0x21, ...leb(local)];
const memory = (code) => (offset) => [...vector(code), 2, ...leb(offset)];
const [load, loadSplat, store] = [0x00, 0x09, 0x0b].map(memory);
// Below 64: a larger constant would need LEB128 with a sign.
const advance = (local, bytes) => [get(local), 0x41, bytes, ADDRESS_ADD, set(local)];
/** Runs the code while the first local is below the second; at least once. */
const whileLess = (local, end, ...code) =>
  [LOOP, EMPTY, code, get(local), get(end), ADDRESS_LESS, REPEAT_IF, 0, END];

const PAGE = 65536;
export const [ROWS, COLUMNS] = [4, 8];

/** c = min(high, max(low, bias + a · b)) for 4 rows of a (4, K) and 8 columns of b (K, 8). */
function tile() {
  const [a, aStride, b, bias, c, cStride, end, low, high] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const rows = [a, 9, 10, 11];
  const [left, right, scalar] = [12, 13, 14];
  const sums = Array.from({ length: ROWS }, (_, row) => [15 + 2 * row, 16 + 2 * row]);
  const next = (one, stride, to) => [get(one), get(stride), ADDRESS_ADD, set(to)];
  const clipped = (sum) =>
    [get(sum), get(low), SPLAT, GREATEST, get(high), SPLAT, LEAST];
  return {
    takes: [I32, I32, I32, I32, I32, I32, I32, F32, F32],
    locals: [[3, I32], [3 + 2 * ROWS, V128]],
    code: [
      rows.slice(1).map((row, at) => next(rows[at], aStride, row)),
      sums.map((pair) => pair.map((sum, at) => [get(bias), load(16 * at), set(sum)])),
      whileLess(a, end,
        get(b), load(0), set(left), get(b), load(16), set(right),
        rows.map((row, at) => [
          get(row), loadSplat(0), set(scalar),
          sums[at].map((sum, half) => [
            get(sum), get(scalar), get([left, right][half]), MULTIPLY, ADD, set(sum),
          ]),
          advance(row, 4),
        ]),
        advance(b, 32)),
      sums.map((pair) => [
        pair.map((sum, at) => [get(c), clipped(sum), store(16 * at)]), next(c, cStride, c),
      ]),
    ],
  };
}

/** y += x · w, number by number. */
function addProducts() {
  const [y, x, w, end] = [0, 1, 2, 3];
  return {
    takes: [I32, I32, I32, I32],
    locals: [],
    code: whileLess(y, end,
      get(y), get(y), load(0), get(x), load(0), get(w), load(0), MULTIPLY, ADD, store(0),
      [y, x, w].map((local) => advance(local, 16))),
  };
}

/** y = min(high, max(low, y)). */
function clip() {
  const [y, end, low, high] = [0, 1, 2, 3];
  return {
    takes: [I32, I32, F32, F32],
    locals: [],
    code: whileLess(y, end,
      get(y), get(y), load(0), get(low), SPLAT, GREATEST, get(high), SPLAT, LEAST, store(0),
      advance(y, 16)),
  };
}

/** g = 0 wherever y is not strictly between low and high: back through the clipping. */
function mask() {
  const [g, y, end, low, high] = [0, 1, 2, 3, 4];
  return {
    takes: [I32, I32, I32, F32, F32],
    locals: [],
    code: whileLess(g, end,
      get(g), get(g), load(0), get(y), load(0), get(low), SPLAT, MORE, AND,
      get(y), load(0), get(high), SPLAT, LESS, AND, store(0),
      [g, y].map((local) => advance(local, 16))),
  };
}

const KERNELS = { tile: tile(), addProducts: addProducts(), clip: clip(), mask: mask() };

function assembled() {
  const names = Object.keys(KERNELS);
  const parts = Object.values(KERNELS);
  const list = (items) => [...leb(items.length), ...items.flat(Infinity)];
  const text = (word) => list([...new TextEncoder().encode(word)]);
  const section = (code, items) => [code, ...list(list(items))];
  const body = ({ locals, code }) => list([list(locals.map(([n, type]) => [...leb(n), type])),
    code, END].flat(Infinity));
  return new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, parts.map(({ takes }) => [0x60, list(takes), 0])),
    ...section(2, [[text("js"), text("memory"), 2, 0, 1]]),
    ...section(3, parts.map((_, at) => leb(at))),
    ...section(7, names.map((name, at) => [text(name), 0, leb(at)])),
    ...section(10, parts.map(body)),
  ]);
}

/** The kernels, and the memory that they share with the page's code: {take, floats, …kernels}.
 * Throws where the browser has no vectors. */
export function kernels() {
  const code = assembled();
  if (!WebAssembly.validate(code)) {
    throw new Error("this browser lacks WebAssembly's vectors, which all have had since 2023");
  }
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), { js: { memory } });
  let taken = 0;
  return {
    ...exports,
    /** The address of `count` numbers, all 0. What floats() returned before is void. */
    take(count) {
      const address = taken;
      taken += 16 * Math.ceil(count / 4);
      const lacking = taken - memory.buffer.byteLength;
      if (lacking > 0) memory.grow(Math.ceil(lacking / PAGE));
      return address;
    },
    /** The `count` numbers at an address. */
    floats: (address, count) => new Float32Array(memory.buffer, address, count),
  };
}
