// The latent explorer: the generator runs in the page, in a worker. One file for all hosts: anywidget imports it (JupyterLab,
// Voilà), the report inlines it with a stand-in for the kernel. `core` is also the worker's source: it uses nothing outside.
function core() {
  const LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", LONGEST = 60; // Crockford's base 32: no I, L, O, U; characters of a code
  const STEP = 1e-2; // length of a step on a seed's plane

  // Random numbers: a 32-bit integer hash (lowbias32) of a counter; a normal number is the sum of 12 halves of 16 bits
  // (Irwin-Hall), which no rounding touches. latent.seeded in Python gives the same bits.
  function hash(x) {
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return (x ^ (x >>> 16)) >>> 0;
  }
  function seeded(seed, size, stream = 0) {
    const key = hash((seed + 0x9e3779b9) | 0), z = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let k = 0; k < 6; k++) {
        const word = hash(key ^ hash(6 * (4096 * stream + i) + k));
        sum += (word & 0xffff) + (word >>> 16);
      }
      z[i] = (sum - 393210) / 65536;
    }
    return z;
  }

  // A state: class c, seed s, truncation t (hundredths), place x, y on the seed's plane, directions d (tenths of a sigma), and
  // where it is a mixture class, seed and place of a second garment and its share m (hundredths).
  const fresh = (c, s) => ({ c, s, t: 100, x: 0, y: 0, mix: null, d: Array(8).fill(0) });
  function place({ s, x, y }, size) {
    const [z, across, down] = [0, 1, 2].map((stream) => seeded(s, size, stream));
    const u = x * STEP, v = y * STEP, length = Math.sqrt(1 + u * u + v * v);
    return z.map((value, i) => (value + u * across[i] + v * down[i]) / length);
  }
  function spherical(a, b, m) {
    let dot = 0, aa = 0, bb = 0;
    a.forEach((v, i) => { dot += v * b[i]; aa += v * v; bb += b[i] * b[i]; });
    const angle = Math.acos(Math.max(-1, Math.min(1, dot / Math.sqrt(aa * bb)))), sine = Math.sin(angle);
    const [p, q] = sine < 1e-6 ? [1 - m, m] : [Math.sin((1 - m) * angle) / sine, Math.sin(m * angle) / sine];
    return a.map((v, i) => p * v + q * b[i]);
  }
  function inputs(state, size, directions) { // the generator's: latent, share of each class
    const y = new Float32Array(10), { mix } = state, m = mix ? mix.m / 100 : 0;
    let z = place(state, size);
    if (mix) z = spherical(z, place(mix, size), m);
    y[state.c] = 1 - m;
    if (mix) y[mix.c] += m;
    for (let k = 0; k * size < directions.length; k++)
      for (let i = 0; i < size; i++) z[i] += (state.d[k] / 10) * directions[k * size + i];
    return { z: Float32Array.from(z, (v) => (v * state.t) / 100), y };
  }

  function crc(bytes) { // CRC-16 XMODEM: finds every wrong letter
    let r = 0;
    for (const byte of bytes) {
      r ^= byte << 8;
      for (let k = 0; k < 8; k++) r = ((r << 1) ^ (r & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return r;
  }
  function encode(state, model) { // model: 16 bits of its digest
    const b = [], put = (value, size) => { for (let k = size - 1; k >= 0; k--) b.push((value >>> (8 * k)) & 255); };
    const { mix } = state, walk = state.x || state.y, moved = state.d.some((v) => v);
    put(model, 2); put(state.c | (walk ? 16 : 0) | (mix ? 32 : 0) | (moved ? 64 : 0), 1); put(state.s, 4); put(state.t, 1);
    if (walk) { put(state.x, 2); put(state.y, 2); }
    if (mix) { put(mix.c, 1); put(mix.s, 4); put(mix.x, 2); put(mix.y, 2); put(mix.m, 1); }
    if (moved) state.d.forEach((v) => put(v, 1));
    put(crc(b), 2);
    let text = "", held = 0, bits = 0;
    for (const byte of [...b, 0]) { // the last 0 fills up; what is too much is cut off
      held = (held << 8) | byte;
      for (bits += 8; bits >= 5; held &= (1 << bits) - 1) text += LETTERS[held >>> (bits -= 5)];
    }
    return "F1-" + text.slice(0, Math.ceil((8 * b.length) / 5));
  }
  function decode(code, model) { // a state; throws an Error of one sentence
    const text = code.trim().toUpperCase(), b = [];
    if (!text.startsWith("F1-")) throw new Error("this is no code of the explorer; one begins with F1-");
    if (text.length > LONGEST) throw new Error(`the code has ${text.length} characters; the longest has ${LONGEST}`);
    let held = 0, bits = 0, at = 0;
    for (const letter of text.slice(3).replace(/O/g, "0").replace(/[IL]/g, "1")) {
      const value = LETTERS.indexOf(letter);
      if (value < 0) throw new Error(`the code holds ${letter}, which no code has`);
      held = (held << 5) | value;
      bits += 5;
      if (bits >= 8) { b.push(held >>> (bits -= 8)); held &= (1 << bits) - 1; }
    }
    const wrong = new Error("the code is mistyped or cut off; its checksum does not fit");
    if (b.length < 10 || held || bits > 4 || crc(b.slice(0, -2)) !== b.at(-2) * 256 + b.at(-1)) throw wrong;
    const get = (size) => { let v = 0; while (size--) v = v * 256 + b[at++]; return v; };
    const signed = (size) => { const v = get(size), top = 2 ** (8 * size); return v < top / 2 ? v : v - top; };
    const found = get(2), hex = (v) => v.toString(16).padStart(4, "0");
    if (found !== model) throw new Error(`the code belongs to another model (${hex(found)}); this one is ${hex(model)}`);
    const flags = get(1), state = fresh(flags & 15, get(4));
    state.t = get(1);
    if (flags & 16) { state.x = signed(2); state.y = signed(2); }
    if (flags & 32) state.mix = { c: get(1), s: get(4), x: signed(2), y: signed(2), m: get(1) };
    if (flags & 64) state.d = state.d.map(() => signed(1));
    if (at !== b.length - 2 || state.c > 9 || state.t > 200 || (state.mix && (state.mix.c > 9 || state.mix.m > 100))) throw wrong;
    return state;
  }

  function halves(buffer) { // float16 to float32: the bits shifted, then the exponent scaled, which is right for subnormals too
    const from = new Uint16Array(buffer), to = new Float32Array(from.length), bits = new Uint32Array(to.buffer);
    for (let i = 0; i < from.length; i++) bits[i] = ((from[i] & 0x8000) << 16) | ((from[i] & 0x7fff) << 13);
    for (let i = 0; i < to.length; i++) to[i] *= 2 ** 112;
    return to;
  }
  const ACTS = { relu: (v) => (v > 0 ? v : 0), tanh: Math.tanh, silu: (v) => v / (1 + Math.exp(-v)), none: (v) => v };
  // A convolution as a gather. x: side * side pixels of `cin` numbers; weight: (tap, cin, cout). "up" is transposed, 4x4, stride
  // 2, padding 1: a pixel takes 2x2 taps; "same" is 3x3, padding 1. Zeros, which ReLU leaves many of, are passed over.
  function convolve({ kind, cin, cout, act, weight, bias }, x, side, w) {
    const up = kind === "up", size = up ? 2 * side : side, kernel = up ? 4 : 3, out = new Float32Array(size * size * cout);
    const taps = Array.from({ length: size }, (_, o) => (!up ? [[o - 1, 0], [o, 1], [o + 1, 2]]
      : o % 2 ? [[(o + 1) / 2, 0], [(o - 1) / 2, 2]] : [[o / 2, 1], [o / 2 - 1, 3]]).filter(([i]) => i >= 0 && i < side));
    const W = w[weight], values = new Float32Array(9 * cin), offsets = new Int32Array(9 * cin), sum = new Float32Array(cout), f = ACTS[act];
    for (let oy = 0; oy < size; oy++) for (let ox = 0; ox < size; ox++) {
      let n = 0, k = 0;
      for (const [iy, ky] of taps[oy]) for (const [ix, kx] of taps[ox]) {
        const from = (iy * side + ix) * cin, tap = (ky * kernel + kx) * cin * cout;
        for (let c = 0; c < cin; c++) if (x[from + c] !== 0) { values[n] = x[from + c]; offsets[n++] = tap + c * cout; }
      }
      sum.set(w[bias]);
      for (; k + 3 < n; k += 4) { // four inputs at a time: a quarter of the loads and stores of the sums
        const a = values[k], b = values[k + 1], c = values[k + 2], d = values[k + 3];
        const p = offsets[k], q = offsets[k + 1], r = offsets[k + 2], s = offsets[k + 3];
        for (let j = 0; j < cout; j++) sum[j] += a * W[p + j] + b * W[q + j] + c * W[r + j] + d * W[s + j];
      }
      for (; k < n; k++) for (let j = 0; j < cout; j++) sum[j] += values[k] * W[offsets[k] + j];
      for (let j = 0, to = (oy * size + ox) * cout; j < cout; j++) out[to + j] = f(sum[j]);
    }
    return [out, size];
  }
  function linear(x, weight, bias, act) { // weight: (in, out)
    const out = Float32Array.from(bias), n = out.length;
    x.forEach((v, i) => { if (v) for (let j = 0, p = i * n; j < n; j++) out[j] += v * weight[p + j]; });
    return out.map(ACTS[act]);
  }
  function pooled(x, side, channels) { // largest of 2x2
    const half = side >> 1, row = side * channels, out = new Float32Array(half * half * channels);
    for (let y = 0, o = 0; y < half; y++) for (let i = 0; i < half; i++) for (let c = 0; c < channels; c++) {
      const p = 2 * y * row + 2 * i * channels + c;
      out[o++] = Math.max(x[p], x[p + channels], x[p + row], x[p + row + channels]);
    }
    return out;
  }
  function open(info, buffer) { // what export.payload made: its description, its numbers
    const numbers = halves(buffer), w = {};
    for (const [name, [start, size]] of Object.entries(info.tensors)) w[name] = numbers.subarray(start, start + size);
    function draw({ z, y }) { // 784 grey levels
      let x = linear([...z, ...(info.conditional ? y : [])], w.project, w.project_bias, "relu"), side = 7;
      for (const layer of info.generator) [x, side] = convolve(layer, x, side, w);
      return Uint8Array.from(x, (v) => Math.max(0, Math.min(255, Math.round((v + 1) * 127.5))));
    }
    function look(image) { // the share that the classifier gives each class, and the nearest real images: [distance, number]
      let x = Float32Array.from(image, (v) => v / 127.5 - 1), side = 28;
      for (const layer of info.classifier) {
        [x] = convolve(layer, x, side, w);
        x = pooled(x, side, layer.cout);
        side >>= 1;
      }
      const hidden = linear(x, w.hidden, w.hidden_bias, "silu"), raw = linear(hidden, w.head, w.head_bias, "none");
      const top = Math.max(...raw), shares = Array.from(raw, (v) => Math.exp(v - top)), total = shares.reduce((a, b) => a + b);
      const size = hidden.length, near = Array.from({ length: w.tiles.length / size }, (_, i) => {
        let d = 0;
        for (let j = 0; j < size; j++) d += (hidden[j] * info.scale - w.tiles[i * size + j]) ** 2;
        return [Math.sqrt(d), i];
      }).sort((a, b) => a[0] - b[0]).slice(0, 6);
      return { shares: shares.map((v) => v / total), near };
    }
    return { draw, look, directions: w.directions };
  }
  return { seeded, fresh, inputs, encode, decode, open };
}

// Work for the worker, one piece at a time. Of pieces with the same name only the newest is done, "draw" before all others.
function engine(info, buffer) {
  const answer = (core, net, { image, state }) => (image ? net.look(image) : net.draw(core.inputs(state, info.latent_dim, net.directions)));
  const source = `const core = (${core})(), answer = ${answer}; let net, info;
    onmessage = ({ data }) => data.info ? (net = core.open((info = data.info), data.buffer)) : postMessage(answer(core, net, data));`;
  const waiting = new Map();
  let address = "", worker = null, running = null, here = null, ended = false;
  const done = (result) => { const { resolve } = running; running = null; resolve(result); next(); };
  const begin = () => {
    if (worker) worker.postMessage(running.job);
    else setTimeout(() => !ended && done(answer((here ??= core()), (here.net ??= here.open(info, buffer)), running.job)));
  };
  function next() {
    if (running || ended || !waiting.size) return;
    const name = waiting.has("draw") ? "draw" : waiting.keys().next().value;
    running = waiting.get(name);
    waiting.delete(name);
    begin();
  }
  const without = () => { worker = null; if (running) begin(); }; // a host that allows no worker: here, between two events
  try {
    address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    worker = new Worker(address);
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = without;
    worker.postMessage({ info, buffer });
  } catch { without(); }
  return {
    ask: (name, job) => new Promise((resolve) => { waiting.set(name, { job, resolve }); next(); }),
    end: () => { ended = true; worker?.terminate(); URL.revokeObjectURL(address); },
  };
}

const STYLE = `.fgx { display: grid; grid-template-columns: minmax(0, 19rem) minmax(0, 1fr); gap: 1rem 1.5rem; max-width: 60rem; }
.fgx * { box-sizing: border-box; font: inherit; } .fgx > div { display: grid; gap: .6rem; align-content: start; min-width: 0; }
.fgx canvas, .fgx .tile { image-rendering: pixelated; background: #000; display: block; border-radius: 4px; } .fgx .stage { width: 100%; aspect-ratio: 1; touch-action: none; cursor: move; }
.fgx .row { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; } .fgx .wide { grid-column: 1 / -1; }
.fgx button { padding: .3rem .6rem; min-height: 2rem; cursor: pointer; } .fgx .classes { display: grid; grid-template-columns: repeat(10, minmax(0, 1fr)); gap: .3rem; }
.fgx .classes button { padding: .2rem; font-size: .75rem; overflow: hidden; text-overflow: ellipsis; } .fgx .classes canvas { width: 100%; }
.fgx [aria-pressed=true] { outline: 3px solid #3b82d6; outline-offset: -1px; } .fgx :focus-visible { outline: 3px solid #d9822b; }
.fgx label.slider { display: grid; grid-template-columns: 9.5rem minmax(0, 1fr) 8.5rem; gap: .5rem; align-items: center; } .fgx input[type=range] { width: 100%; }
.fgx output { font-variant-numeric: tabular-nums; } .fgx input[type=text] { flex: 1; min-width: 8rem; font-family: monospace; } .fgx input[type=number] { width: 8.5rem; }
.fgx figure { margin: 0; font-size: .85rem; width: 6.4rem; } .fgx figure button { padding: .1rem .5rem; } .fgx figure canvas { width: 100%; } .fgx h2 { font-size: 1rem; font-weight: 600; margin: .4rem 0 0; } .fgx p { margin: 0; } .fgx .alert { color: #c62828; min-height: 1.5em; } .fgx .alert.good { color: inherit; }
@media (prefers-color-scheme: dark) { .fgx .alert:not(.good) { color: #ff8f8a; } }
@media (max-width: 640px) { .fgx { grid-template-columns: minmax(0, 1fr); } .fgx .classes { grid-template-columns: repeat(5, minmax(0, 1fr)); } .fgx label.slider { grid-template-columns: 7rem minmax(0, 1fr) 6rem; } .fgx .stage { max-width: 16rem; } }`;

// model: get, set, on, off, save_changes. It knows `info`, `numbers` (DataView or base64), `code`, and `page`: whether it has the page for itself.
function render({ model, el }) {
  const info = model.get("info"), raw = model.get("numbers"), { encode, decode, fresh } = core(), names = info.classes;
  const buffer = typeof raw === "string" ? Uint8Array.from(atob(raw), (c) => c.charCodeAt(0)).buffer : raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength);
  const work = engine(info, buffer), page = model.get("page"), away = [];
  let state = fresh(9, 7), history = [], at = -1, pins = [], film = 0, image = null, looked = 0;

  function make(tag, about = {}, ...inside) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(about)) key in node && typeof value !== "string" ? (node[key] = value) : node.setAttribute(key, value);
    node.append(...inside);
    return node;
  }
  const button = (text, onclick, about = {}) => make("button", { type: "button", onclick, ...about }, text);
  const canvas = (about = {}) => make("canvas", { width: 28, height: 28, ...about });
  const listen = (target, name, work) => { target.addEventListener(name, work); away.push(() => target.removeEventListener(name, work)); };
  function paint(target, levels) {
    const pixels = new ImageData(28, 28);
    levels.forEach((v, i) => pixels.data.set([v, v, v, 255], 4 * i));
    target.getContext("2d").putImageData(pixels, 0, 0);
  }
  function slider(text, least, most, step, get, set, words) {
    const input = make("input", { type: "range", min: String(least), max: String(most), step: String(step) }), output = make("output");
    const show = () => { input.value = get(); output.value = words(get()); input.setAttribute("aria-valuetext", output.value); };
    input.oninput = () => { set(Number(input.value)); draw(); };
    input.onchange = () => keep();
    shown.push(show);
    return make("label", { class: "slider" }, make("span", {}, text), input, output);
  }

  const shown = [], stage = canvas({ class: "stage", role: "img", tabindex: "0" }), seen = make("p", { "aria-live": "polite" }), alert = make("p", { class: "alert", role: "alert" });
  const say = (words, good = false) => { alert.textContent = words; alert.classList.toggle("good", good); };
  function draw() { // on screen soon; the rest of the page follows
    const code = encode(state, info.model), now = state;
    shown.forEach((show) => show());
    return work.ask("draw", { state: now }).then((levels) => {
      image = levels;
      paint(stage, levels);
      stage.dataset.code = code;
      if (info.conditional) names.forEach((_, c) => work.ask(`class ${c}`, { state: { ...now, c, mix: now.mix && { ...now.mix, c } } }).then((some) => paint(thumbs[c], some)));
      clearTimeout(looked);
      looked = setTimeout(look, 150);
    });
  }
  function look() {
    const code = stage.dataset.code;
    work.ask("look", { image }).then(({ shares, near }) => {
      if (stage.dataset.code !== code) return;
      const best = shares.indexOf(Math.max(...shares)), words = `${names[best]}, ${Math.round(100 * shares[best])} % sure`;
      stage.setAttribute("aria-label", `generated garment: ${words}. Arrow keys or dragging walk to neighbours.`);
      seen.textContent = `A classifier sees: ${words}`;
      near.forEach(([distance, i], k) => {
        const context = tiles[k].firstChild.getContext("2d"), word = `${names[info.tile_classes[i]]}, ${distance.toFixed(2)}`;
        context.drawImage(sprite, 28 * (i % 50), 28 * Math.floor(i / 50), 28, 28, 0, 0, 28, 28);
        tiles[k].lastChild.textContent = word;
        tiles[k].firstChild.setAttribute("aria-label", `training image ${info.tile_numbers[i]}: ${word} away`);
      });
      const ratio = near[0][0] / info.real_distance;
      judged.textContent = `The nearest is ${near[0][0].toFixed(2)} away. Real images lie ${info.real_distance.toFixed(2)} (median) from their own nearest: this one is ${ratio.toFixed(1)} times as far.`;
    });
  }
  function keep() { // a step that undo goes back over; only now the kernel hears of it
    const code = encode(state, info.model);
    say("");
    if (code !== history[at]) { history = [...history.slice(0, at + 1), code]; at++; }
    told(code);
  }
  function told(code) {
    field.value = code;
    back.disabled = at < 1;
    forth.disabled = at > history.length - 2;
    model.set("code", code);
    model.save_changes();
    if (page) try { location.hash = code; } catch { /* a viewer without an address */ }
  }
  const change = (now) => { stop(); state = now; keep(); return draw(); };
  function step(by) {
    if (!(at + by in history)) return;
    stop();
    at += by;
    state = decode(history[at], info.model);
    say("");
    told(history[at]);
    draw();
  }
  function go(code) {
    try { change(decode(code, info.model)); } catch (error) { say(error.message[0].toUpperCase() + error.message.slice(1) + "."); }
  }

  // classes, each with the same latent in it
  const thumbs = names.map(() => canvas({ "aria-hidden": "true" }));
  const inClass = (c) => info.conditional && change({ ...state, c, mix: state.mix && { ...state.mix, c } });
  const classes = make("div", { class: "classes", role: "group", "aria-label": "class" }, ...names.map((name, c) => {
    const one = button("", () => inClass(c), { title: `key ${c}`, disabled: !info.conditional });
    one.append(info.conditional ? thumbs[c] : "", `${c} ${name}`);
    shown.push(() => one.setAttribute("aria-pressed", String(info.conditional && state.c === c)));
    return one;
  }));
  const seed = make("input", { type: "number", min: "0", max: "4294967295", step: "1" });
  seed.onchange = () => {
    const value = Number(seed.value);
    if (!Number.isInteger(value) || value < 0 || value > 4294967295 || seed.value === "") return say("A seed is a whole number from 0 to 4294967295.");
    change({ ...state, s: value, x: 0, y: 0, mix: null });
  };
  shown.push(() => { seed.value = state.s; });
  const surprise = () => change({ ...fresh(state.c, crypto.getRandomValues(new Uint32Array(1))[0] % 1000000), t: state.t });
  const back = button("Undo", () => step(-1), { title: "Ctrl-Z" }), forth = button("Redo", () => step(1), { title: "Ctrl-Shift-Z" });
  const field = make("input", { type: "text", spellcheck: "false", autocomplete: "off", "aria-label": "code of this garment" });
  field.onkeydown = (event) => { if (event.key === "Enter") go(field.value); };
  const copy = (what, text) => Promise.resolve().then(what).then(() => say(text, true), () => say("This browser lets no page copy; select the code, or download."));

  // pins, mixtures, the film from A to B
  const picked = [make("select", { "aria-label": "pin A" }), make("select", { "aria-label": "pin B" })], shelf = make("div", { class: "row" });
  function pin() {
    if (pins.length === 12) return say("Twelve pins are all that fit; remove one.");
    const one = { state, image };
    pins.push(one);
    if (stage.dataset.code !== encode(state, info.model)) work.ask(`pin ${pins.length}`, { state }).then((levels) => { one.image = levels; listed(); }); // the picture is not there yet
    listed();
    const plain = [...pins.keys()].filter((i) => !pins[i].state.mix); // the last two of those that can be mixed
    picked.forEach((select, k) => { if (plain.length && !state.mix) select.value = plain[Math.max(0, plain.length - 2 + k)] ?? plain[0]; });
  }
  function listed() {
    shelf.replaceChildren(...pins.map(({ state: now, image: levels }, i) => {
      const small = canvas({ role: "img", "aria-label": `pin ${i + 1}` });
      paint(small, levels);
      return make("figure", {}, small, button(`show ${i + 1}`, () => change(now)), button("×", () => { pins.splice(i, 1); listed(); }, { "aria-label": `remove pin ${i + 1}` }));
    }));
    picked.forEach((select) => { const before = select.value; select.replaceChildren(...pins.map((p, i) => make("option", { value: String(i) }, `${i + 1}: ${names[p.state.c]}`))); if (before in pins) select.value = before; });
  }
  function mixed(m) { // a state between the pins A and B; null where there are none
    const [a, b] = picked.map((select) => pins[select.value]?.state);
    if (!a || !b || a.mix || b.mix) { say(a?.mix || b?.mix ? "A mixture cannot be mixed again; pin two plain garments." : "Pin two garments first."); return null; }
    const between = (p, q) => Math.round(p + ((q - p) * m) / 100);
    return { ...a, t: between(a.t, b.t), d: a.d.map((v, k) => between(v, b.d[k])), mix: { c: b.c, s: b.s, x: b.x, y: b.y, m } };
  }
  const share = slider("mix A → B", 0, 100, 1, () => state.mix?.m ?? 0, (m) => { stop(); state = mixed(m) ?? state; }, (m) => `${m} % of B`);
  const stop = () => { cancelAnimationFrame(film); film = 0; playing.textContent = "Play A → B"; };
  const playing = button("Play A → B", () => {
    if (film) { stop(); return keep(); }
    if (!mixed(0)) return;
    const began = performance.now();
    playing.textContent = "Stop";
    const frame = async (now) => {
      state = mixed(Math.min(100, Math.round((now - began) / 30))) ?? state;
      await draw();
      if (!film) return;
      if (state.mix?.m === 100) { stop(); keep(); } else film = requestAnimationFrame(frame);
    };
    film = requestAnimationFrame(frame);
  });

  // pictures out
  function sheet(levels) { // garments side by side, each pixel as 8x8
    const target = make("canvas", { width: 224 * levels.length, height: 224 }), small = canvas(), context = target.getContext("2d");
    context.imageSmoothingEnabled = false;
    levels.forEach((some, i) => { paint(small, some); context.drawImage(small, 224 * i, 0, 224, 224); });
    return new Promise((resolve) => target.toBlob(resolve, "image/png"));
  }
  const save = (blob, name) => {
    const link = make("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  async function strip() { // the way from A to B where two are pinned, else all classes
    const way = pins.length > 1 && mixed(0), all = way ? Array.from({ length: 11 }, (_, i) => mixed(10 * i)) : info.conditional ? names.map((_, c) => ({ ...state, c, mix: null })) : [state];
    save(await sheet(await Promise.all(all.map((now, i) => work.ask(`strip ${i}`, { state: now })))), `${way ? "from-A-to-B" : "classes"}.png`);
  }

  // a walk on the seed's plane, by dragging or arrow keys
  const bound = (v) => Math.max(-32768, Math.min(32767, Math.round(v)));
  const walk = (x, y) => { state = { ...state, x: bound(x), y: bound(y) }; draw(); };
  let grip = null;
  stage.onpointerdown = (event) => { stop(); stage.setPointerCapture(event.pointerId); grip = [event.clientX, event.clientY, state.x, state.y]; };
  stage.onpointermove = (event) => grip && walk(grip[2] + event.clientX - grip[0], grip[3] + event.clientY - grip[1]);
  stage.onpointerup = stage.onpointercancel = () => { if (grip) { grip = null; keep(); } };
  stage.onkeydown = (event) => {
    const to = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (to) { event.preventDefault(); walk(state.x + to[0], state.y + to[1]); keep(); }
  };
  listen(page ? document : el, "keydown", (event) => {
    const typing = ["text", "number"].includes(event.target.type) || event.target.tagName === "SELECT";
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && event.target !== field) { event.preventDefault(); event.stopPropagation(); step(event.shiftKey ? 1 : -1); }
    else if (/^[0-9]$/.test(event.key) && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) { event.stopPropagation(); inClass(Number(event.key)); }
  });

  const sprite = make("img", { src: info.sprite, alt: "" }), judged = make("p");
  const tiles = Array.from({ length: 6 }, () => make("figure", {}, canvas({ role: "img", "aria-label": "training image" }), make("figcaption")));
  const directions = info.directions.map(({ less, more, measured, effect }, k) => { // to the right is always more
    const way = effect < 0 ? -1 : 1;
    const one = slider(less ? `${less} ↔ ${more}` : more, -30, 30, 1, () => way * state.d[k], (v) => { stop(); state = { ...state, d: state.d.map((old, i) => (i === k ? way * v : old)) }; },
      (v) => (v === 0 ? "0 σ" : `${less ? (v > 0 ? more : less) + " " : ""}${less ? Math.abs(v / 10) : v / 10} σ`));
    one.title = `2 σ change ${measured} by ${Math.abs(effect).toFixed(2)} standard deviations`;
    return one;
  });
  el.replaceChildren(make("style", {}, STYLE), make("div", { class: "fgx", tabindex: "-1" },
    make("div", {}, stage, seen, make("div", { class: "row" }, back, forth, button("Reset", () => change(fresh(state.c, state.s))), button("Pin", pin)),
      make("div", { class: "row" }, button("Copy PNG", () => copy(async () => navigator.clipboard.write([new ClipboardItem({ "image/png": await sheet([image]) })]), "The picture is copied.")),
        button("Save PNG", async () => save(await sheet([image]), `${stage.dataset.code}.png`)), button("Save strip", strip))),
    make("div", {}, make("div", { class: "row" }, make("label", {}, "seed ", seed), button("Surprise me", surprise)),
      slider("truncation", 0, 150, 1, () => state.t, (t) => { stop(); state = { ...state, t }; }, (t) => (t / 100).toFixed(2)), ...directions,
      make("div", { class: "row" }, field, button("Go to code", () => go(field.value)), button("Copy code", () => copy(() => navigator.clipboard.writeText(stage.dataset.code), "The code is copied."))), alert),
    make("div", { class: "wide" }, make("h2", {}, info.conditional ? "The same latent in every class" : "This model cannot be asked for a class"), classes),
    make("div", { class: "wide" }, make("h2", {}, "Pins"), shelf, make("div", { class: "row" }, make("label", {}, "A ", picked[0]), make("label", {}, "B ", picked[1]), playing), share),
    make("div", { class: "wide" }, make("h2", {}, `The nearest of ${info.tile_classes.length.toLocaleString("en")} training images`), judged, make("div", { class: "row" }, ...tiles))));
  const given = () => { const code = model.get("code"); if (code && code !== history[at]) go(code); };
  model.on("change:code", given);
  away.push(() => model.off("change:code", given));
  if (page) listen(window, "hashchange", () => { const code = location.hash.slice(1); if (code && code !== history[at]) go(code); });
  const first = (page && location.hash.slice(1)) || model.get("code");
  keep();
  if (first) go(first);
  if (at === 0) draw();
  return () => { stop(); work.end(); away.forEach((leave) => leave()); };
}

export default { core, render };
