// The live feed. One bounded buffer, virtual rows, at most ten paints a second, no event lost or shown twice.

// The timer ends a little before the frame that is to show the rows, or the frame after it would.
const PAINT_MS = 100, FRAME_MS = 10, OVERSCAN = 6, TYPES_SHOWN = 3;
const ICON = (path) => `<svg width="15" height="15" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${path}"></path></svg>`;
const DOT = "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4z";
const number = (value) => value.toLocaleString("en-US");
const familyOf = (event) => event.type.split(".")[0];

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function latency(ms) { return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`; }

function word(key, value) {
  if (key.endsWith("_ms") && typeof value === "number") return latency(value);
  if (key.endsWith("_msat") && typeof value === "number") return `${number(Math.floor(value / 1000))} sat`;
  if (key === "failures" || key === "characters") return `${value} ${key}`;
  if (key === "session") return `session ${value}`;
  return String(value).split(/\s+/).join(" ").trim();
}

function summary(data, keys) {
  if (data === null) return "redacted";
  const known = keys.filter((key) => data[key] !== undefined && data[key] !== null && data[key] !== "");
  const words = known.slice(0, TYPES_SHOWN).map((key) => word(key, data[key]));
  const others = Object.entries(data).slice(0, TYPES_SHOWN)
    .filter(([, value]) => ["string", "number", "boolean"].includes(typeof value)).map(([key, value]) => `${key} ${value}`);
  return [...new Set(words.length ? words : others)].join(" · ").slice(0, 240);
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h`;
  return whole >= 60 ? `${Math.floor(whole / 60)} min` : `${whole} s`;
}

async function copyText(button, text) {
  try { await navigator.clipboard.writeText(text); } catch { return; }
  const before = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1000);
}

// What has come, in order; the cursor is the last seq taken, so a replay after a reconnect adds nothing twice.
class Buffer {
  constructor(kept, since) { this.kept = kept; this.reset(since); this.epoch = null; }
  reset(since) { this.events = []; this.cursor = since; this.counts = new Map(); }
  add(events) {
    const fresh = events.filter((event) => event.seq > this.cursor);
    for (const event of fresh) {
      this.cursor = event.seq;
      this.events.push(event);
      this.counts.set(familyOf(event), (this.counts.get(familyOf(event)) ?? 0) + 1);
    }
    const over = this.events.length - this.kept;
    if (over > 0) {
      for (const event of this.events.splice(0, over)) this.counts.set(familyOf(event), this.counts.get(familyOf(event)) - 1);
    }
    return fresh;
  }
}

// Follows the server's feed; where there never was one, it asks the kernel to follow instead.
class Follower {
  constructor(model, buffer, onEvents, onState) {
    Object.assign(this, { model, buffer, onEvents, onState, delay: 300, everOpen: false, local: false, done: false });
    this.fromKernel = (packet) => { if (this.local) this.take(packet); };
    model.on("msg:custom", this.fromKernel);
    this.connect();
  }
  connect() {
    if (this.done) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}${this.model.get("path")}?since=${this.buffer.cursor}`);
    this.socket.onmessage = (message) => this.take(JSON.parse(message.data));
    this.socket.onclose = (event) => this.closed(event);
  }
  take(packet) {
    if (packet.kind === "hello") this.greeted(packet);
    else if (packet.events) this.onEvents(packet.events);
  }
  greeted(packet) {
    this.everOpen = true; this.delay = 300;
    const other = this.buffer.epoch !== null && this.buffer.epoch !== packet.epoch;
    this.buffer.epoch = packet.epoch;
    if (other || packet.reset || packet.head < this.buffer.cursor) {
      // Another log (a restored or new home): what is shown belongs to the old one, and its cursor means nothing here.
      this.buffer.reset(Math.max(0, packet.head - 200));
      this.onEvents([]);
      this.socket.onclose = null; this.socket.close(); this.connect();
      return;
    }
    this.onState("open");
  }
  closed(event) {
    if (this.done) return;
    if (!this.everOpen) {
      this.local = true;
      this.model.send({ kind: "follow", since: this.buffer.cursor });
      this.onState("local");
      return;
    }
    this.onState(event.code === 4401 ? "login" : "lost");
    if (event.code === 4401) return;
    this.delay = Math.min(this.delay * 2, 10000);
    this.retry = setTimeout(() => this.connect(), this.delay * (0.75 + Math.random() / 2));
  }
  end() {
    this.done = true;
    clearTimeout(this.retry);
    this.model.off("msg:custom", this.fromKernel);
    this.socket?.close();
  }
}

class View {
  constructor(model, root) {
    Object.assign(this, { model, root, families: new Set(), text: "", paused: null, fresh: 0, selected: null, shown: [], rows: new Map(), timer: null, last: 0, state: "connecting", changedAt: Date.now(), freshFrom: Infinity });
    this.buffer = new Buffer(model.get("rows_kept"), model.get("since"));
    this.build();
    this.freshFrom = model.get("since") + 1e15;
    this.follower = new Follower(model, this.buffer, (events) => this.came(events), (state) => this.setState(state));
    this.second = setInterval(() => this.sayState(), 1000);
    this.resized = new ResizeObserver(() => this.soon());
    this.resized.observe(this.list);
    setTimeout(() => { this.freshFrom = this.buffer.cursor; }, 1500);
  }
  build() {
    const bar = element("div", "tw-feed-bar");
    this.said = element("span", "tw-feed-state"); this.said.setAttribute("role", "status");
    this.chips = element("div", "tw-feed-chips");
    this.search = element("input", "tw-feed-text");
    Object.assign(this.search, { type: "search", placeholder: "filter by words", ariaLabel: "filter by words" });
    this.search.oninput = () => { this.text = this.search.value.trim().toLowerCase(); this.filterChanged(); };
    this.pause = element("button", "tw-pause", "Pause");
    this.pause.type = "button"; this.pause.setAttribute("aria-pressed", "false");
    this.pause.onclick = () => this.togglePause();
    bar.append(this.said, this.chips, this.search, this.pause);
    const body = element("div", "tw-feed-body"), main = element("div", "tw-feed-main");
    this.list = element("div", "tw-feed-list");
    this.list.tabIndex = 0; this.list.setAttribute("role", "listbox"); this.list.setAttribute("aria-label", "events, newest first");
    this.space = element("div", "tw-feed-space");
    this.none = element("div", "tw-feed-none"); this.none.hidden = true;
    this.newer = element("div", "tw-new"); this.newer.hidden = true;
    const button = element("button"); button.type = "button"; button.onclick = () => this.toTop();
    this.newer.append(button);
    this.list.append(this.space); main.append(this.list, this.none, this.newer);
    this.detail = element("aside", "tw-feed-detail"); this.detail.hidden = true;
    body.append(main, this.detail);
    this.root.className = "tw-feed"; this.root.append(bar, body);
    this.list.onscroll = () => { if (this.list.scrollTop < 4 && this.paused === null) this.fresh = 0; this.soon(); };
    this.list.onclick = (event) => this.clicked(event);
    this.root.onkeydown = (event) => this.key(event);
  }
  rowHeight() { return matchMedia("(max-width: 700px)").matches ? 50 : 30; }
  matches(event) {
    if (this.families.size && !this.families.has(familyOf(event))) return false;
    if (!this.text) return true;
    event.haystack ??= JSON.stringify(event).toLowerCase();
    return this.text.split(/\s+/).every((part) => event.haystack.includes(part));
  }
  came(events) {
    const fresh = this.buffer.add(events).filter((event) => this.matches(event)).length;
    this.changedAt = Date.now();
    const away = this.list.scrollTop >= 4;
    if (this.paused !== null || away) this.fresh += fresh;
    // The reader's rows stay where they are while newer ones pile up above.
    if (this.paused === null && away) this.shift = (this.shift ?? 0) + fresh;
    this.soon();
  }
  setState(state) {
    this.state = state; this.root.dataset.state = state; this.changedAt = this.changedAt ?? Date.now();
    if (state === "lost") this.lostAt ??= Date.now(); else this.lostAt = null;
    window.dispatchEvent(new CustomEvent("tw-connection", { detail: state === "login" ? "lost" : state }));
    this.sayState();
  }
  sayState() {
    const total = number(this.buffer.cursor);
    const old = this.lostAt ? duration((Date.now() - this.lostAt) / 1000) : "";
    const words = { connecting: "connecting…", open: `live · #${total}`, local: `following here, no server · #${total}`, lost: `connection lost; these rows are ${old} old`, login: "your login has ended; reload the page" };
    const said = this.paused !== null && this.state !== "lost" ? `paused at #${number(this.paused)}` : words[this.state];
    if (this.said.lastWords === said) return;
    this.said.lastWords = said; this.said.dataset.state = this.state;
    this.said.replaceChildren(element("i"), document.createTextNode(said));
  }
  soon() {
    if (this.timer !== null) return;
    this.timer = setTimeout(() => requestAnimationFrame(() => { this.timer = null; this.last = performance.now(); this.paint(); }), Math.max(0, this.last + PAINT_MS - FRAME_MS - performance.now()));
  }
  filterChanged() { this.fresh = 0; this.list.scrollTop = 0; this.soon(); }
  togglePause() {
    this.paused = this.paused === null ? this.buffer.cursor : null;
    if (this.paused === null) { this.fresh = 0; this.list.scrollTop = 0; }
    this.pause.setAttribute("aria-pressed", String(this.paused !== null));
    this.sayState(); this.soon();
  }
  toTop() { if (this.paused !== null) this.togglePause(); this.fresh = 0; this.list.scrollTop = 0; this.soon(); }
  paint() {
    const height = this.rowHeight();
    this.shown = this.buffer.events.filter((event) => (this.paused === null || event.seq <= this.paused) && this.matches(event));
    const count = this.shown.length;
    this.space.style.height = `${count * height}px`;
    if (this.shift) { this.list.scrollTop += this.shift * height; this.shift = 0; }
    const first = Math.max(0, Math.floor(this.list.scrollTop / height) - OVERSCAN);
    const last = Math.min(count, Math.ceil((this.list.scrollTop + this.list.clientHeight) / height) + OVERSCAN);
    const wanted = new Set();
    let next = this.space.firstChild;
    for (let place = first; place < last; place += 1) {
      const event = this.shown[count - 1 - place];
      wanted.add(event.seq);
      let row = this.rows.get(event.seq);
      if (!row) { row = this.row(event); this.rows.set(event.seq, row); }
      // The order in the document is the order on the screen, for screen readers and the tab key.
      if (row === next) next = next.nextSibling; else this.space.insertBefore(row, next);
      row.style.top = `${place * height}px`;
      row.setAttribute("aria-selected", String(event.seq === this.selected));
    }
    for (const [seq, row] of this.rows) if (!wanted.has(seq)) { row.remove(); this.rows.delete(seq); }
    this.paintChips(); this.paintEmpty(count); this.sayState();
    this.newer.hidden = this.fresh === 0;
    if (this.fresh) this.newer.firstChild.textContent = `${number(this.fresh)} new ↑`;
    this.pause.textContent = this.paused === null ? "Pause" : this.fresh ? `Resume · ${number(this.fresh)} new` : "Resume";
  }
  paintEmpty(count) {
    this.none.hidden = count > 0;
    const none = this.buffer.events.length ? "No event here matches the filter." : "Nothing has happened yet. Ask Timmy something on the home page, and it shows here at once.";
    if (this.none.textContent !== none) this.none.textContent = none;
  }
  paintChips() {
    const names = [...this.buffer.counts.keys()].filter((name) => this.buffer.counts.get(name) > 0 || this.families.has(name)).sort();
    const known = new Map([...this.chips.children].map((chip) => [chip.dataset.family, chip]));
    names.forEach((name, place) => {
      let chip = known.get(name);
      if (!chip) { chip = this.chip(name); }
      if (this.chips.children[place] !== chip) this.chips.insertBefore(chip, this.chips.children[place] ?? null);
      chip.setAttribute("aria-pressed", String(this.families.has(name)));
      chip.lastChild.textContent = number(this.buffer.counts.get(name));
      known.delete(name);
    });
    for (const chip of known.values()) chip.remove();
  }
  look(name) { return this.model.get("families")[name] ?? { color: "var(--tw-off)", path: DOT }; }
  icon(name, className) {
    const span = element("span", className), look = this.look(name);
    span.style.color = look.color; span.innerHTML = ICON(look.path || DOT);
    return span;
  }
  chip(name) {
    const chip = element("button", "tw-chip"); chip.type = "button"; chip.dataset.family = name;
    chip.append(this.icon(name, "tw-row-icon"), document.createTextNode(name), element("b"));
    chip.onclick = () => { if (!this.families.delete(name)) this.families.add(name); this.filterChanged(); };
    return chip;
  }
  row(event) {
    const row = element("div", "tw-row"), when = new Date(event.ts);
    row.dataset.seq = event.seq; row.setAttribute("role", "option");
    const time = element("time", "", when.toLocaleTimeString([], { hour12: false }));
    time.dateTime = event.ts; time.title = when.toLocaleString();
    const words = element("span", "tw-row-words", summary(event.data, this.model.get("summary_keys")));
    words.title = words.textContent;
    const trace = element("button", "tw-row-trace", event.trace_id ? `…${event.trace_id.slice(-6)}` : "");
    trace.type = "button"; trace.tabIndex = -1;
    if (event.trace_id) { trace.title = `trace ${event.trace_id} (click copies)`; trace.dataset.trace = event.trace_id; }
    row.append(time, this.icon(familyOf(event), "tw-row-icon"), element("span", "tw-row-type", event.type), words, element("span", "tw-row-source", event.source), trace);
    if (event.seq > this.freshFrom) row.classList.add("tw-fresh");
    return row;
  }
  clicked(event) {
    const trace = event.target.closest("[data-trace]");
    if (trace) { copyText(trace, trace.dataset.trace); return; }
    const row = event.target.closest(".tw-row");
    if (row) this.select(Number(row.dataset.seq));
  }
  select(seq) {
    this.selected = seq === this.selected ? null : seq;
    const found = this.buffer.events.find((event) => event.seq === this.selected);
    this.detail.hidden = !found;
    if (found) this.fillDetail(found);
    this.soon();
  }
  fillDetail(event) {
    const head = element("header"), close = element("button", "tw-close", "✕"), list = element("dl");
    close.type = "button"; close.ariaLabel = "close the detail"; close.onclick = () => this.select(this.selected);
    head.append(this.icon(familyOf(event), "tw-row-icon"), element("strong", "", event.type), close);
    const fact = (name, value, copies) => {
      if (value === null || value === undefined || value === "") return;
      const holder = element("dd");
      if (copies) {
        const button = element("button", "", value); button.type = "button"; button.title = "click copies"; button.onclick = () => copyText(button, value); holder.append(button);
      } else holder.textContent = value;
      list.append(element("dt", "", name), holder);
    };
    fact("place", `#${number(event.seq)}`); fact("when", new Date(event.ts).toLocaleString()); fact("source", event.source);
    fact("task", event.task_id, true); fact("agent", event.agent_id, true); fact("trace", event.trace_id, true); fact("id", event.id, true);
    this.detail.replaceChildren(head, list, element("pre", "", JSON.stringify(event.data, null, 2)));
    if (event.trace_id) {
      const link = element("a", "", "the whole trace on Events →"); link.href = `/swarm/events?trace=${encodeURIComponent(event.trace_id)}`;
      this.detail.append(link);
    }
  }
  key(event) {
    if (event.key === "Escape" && this.selected !== null) { this.select(this.selected); event.preventDefault(); }
    if (event.target !== this.list) return;
    if (event.key === " ") { this.togglePause(); event.preventDefault(); }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const count = this.shown.length, at = this.shown.findIndex((one) => one.seq === this.selected);
    const next = at < 0 ? count - 1 : Math.min(count - 1, Math.max(0, at + (event.key === "ArrowDown" ? -1 : 1)));
    if (!this.shown[next] || next === at) return;
    this.select(this.shown[next].seq);
    const top = (count - 1 - next) * this.rowHeight();
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + this.rowHeight() > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top + this.rowHeight() - this.list.clientHeight;
  }
  end() { this.follower.end(); clearInterval(this.second); clearTimeout(this.timer); this.resized.disconnect(); }
}

function render({ model, el }) {
  const root = document.createElement("div");
  el.append(root);
  const view = new View(model, root);
  return () => view.end();
}

export default { render };
