// The live feed, with the past behind it. Bounded buffers, virtual rows, at most ten paints a second, no event lost or shown twice.

// The timer ends a little before the frame that is to show the rows, or the frame after it would.
const PAINT_MS = 100, FRAME_MS = 10, OVERSCAN = 6, FOOT = 44, NEAR = 600, TRACE_MS = 600;
const MARKS = { bad: ["M6 6l12 12M18 6 6 18", "bad news"], wait: ["M12 4 3 20h18zM12 10v5M12 17v.5", "a warning"] };

class View {
  constructor(model, root) {
    Object.assign(this, { model, root, paused: null, fresh: 0, selected: null, chosen: null, trace: "", shown: [], rows: new Map(), timer: null, last: 0, state: "connecting", freshFrom: Infinity, allChips: false });
    this.buffer = new Buffer(model.get("rows_kept"), model.get("since"));
    this.sifter = new Sifter(() => this.filterChanged());
    this.past = new Past(model, () => this.soon(), (order) => this.ask(order));
    this.build();
    this.listen();
    this.follower = new Follower(model, this.buffer, (events) => this.came(events), (state) => this.setState(state), () => { this.past.reset(); this.soon(); });
    this.second = setInterval(() => this.sayState(), 1000);
    this.resized = new ResizeObserver(() => this.soon());
    this.resized.observe(this.list);
    setTimeout(() => { this.freshFrom = this.buffer.cursor; }, 1500);
    this.fromAddress();
  }
  build() {
    const bar = element("div", "tw-feed-bar");
    this.said = element("span", "tw-feed-state"); this.said.setAttribute("role", "status");
    this.chips = element("div", "tw-feed-chips");
    this.pause = button("tw-pause", "Pause", () => this.togglePause());
    this.pause.setAttribute("aria-pressed", "false");
    bar.append(this.said, this.sifter.search, this.sifter.range, this.pause);
    const body = element("div", "tw-feed-body"), main = element("div", "tw-feed-main");
    this.list = element("div", "tw-feed-list");
    this.list.tabIndex = 0; this.list.setAttribute("role", "listbox"); this.list.setAttribute("aria-label", "events, newest first");
    this.space = element("div", "tw-feed-space");
    this.foot = element("div", "tw-feed-foot");
    this.none = element("div", "tw-feed-none"); this.none.hidden = true;
    this.newer = element("div", "tw-new"); this.newer.hidden = true;
    this.newer.append(button("", "", () => this.toTop()));
    this.list.append(this.space, this.foot); main.append(this.list, this.none, this.newer);
    this.whole = element("section", "tw-feed-trace"); this.whole.hidden = true; this.whole.ariaLabel = "one trace";
    this.detail = element("aside", "tw-feed-detail"); this.detail.hidden = true; this.detail.ariaLabel = "the chosen event";
    body.append(main, this.whole, this.detail);
    this.root.className = "tw-feed"; this.root.append(bar, this.chips, this.sifter.custom, this.sifter.on, body);
    this.list.onscroll = () => { if (this.list.scrollTop < 4 && this.paused === null) this.fresh = 0; this.soon(); };
    this.root.onclick = (event) => this.clicked(event);
    this.root.onkeydown = (event) => this.key(event);
  }
  listen() {
    this.told = (message) => {
      if (message.kind === "trace" && message.trace === this.trace) this.fillTrace(message);
      if (message.kind === "event" && message.seq === this.selected) { this.chosen = message.event; this.fillDetail(message.event, message.problem); }
    };
    this.model.on("msg:custom", this.told);
    this.back = () => this.fromAddress();
    window.addEventListener("popstate", this.back);
    // Other parts of the page may name a trace to be shown.
    this.deaf = heeded("wholeTrace", (link) => { this.showTrace(link.dataset.wholeTrace); this.root.scrollIntoView({ block: "nearest" }); });
  }
  // A deep link names an event or a trace, which may be long past.
  fromAddress() {
    const address = new URLSearchParams(location.search), seq = Number(address.get("seq")) || null;
    this.showTrace(address.get("trace") ?? "", { write: false });
    if (seq !== this.selected) this.select(seq, { write: false });
  }
  // Whether the kernel hears: not while the connection is lost, nor between a restart of the server and the new kernel.
  get heard() { return (this.state === "open" || this.state === "local") && !this.follower?.orphaned; }
  ask(order) { if (this.heard) this.model.send(order); }
  rowHeight() { return matchMedia("(max-width: 700px)").matches ? 50 : 30; }
  came(events) {
    const { fresh, gone } = this.buffer.add(events), matches = this.sifter.matcher();
    if (fresh.some((event) => event.type === "log.redacted")) this.forget();
    this.past.keep(gone.filter(matches));
    const count = fresh.filter(matches).length;
    const away = this.list.scrollTop >= 4;
    if (this.paused !== null || away) this.fresh += count;
    // The reader's rows stay where they are while newer ones pile up above.
    if (this.paused === null && away) this.shift = (this.shift ?? 0) + count;
    if (fresh.length) window.dispatchEvent(new CustomEvent("tw-events", { detail: new Set(fresh.map(familyOf)) }));
    if (this.trace && fresh.some((event) => event.trace_id === this.trace)) this.askTrace(TRACE_MS);
    this.soon();
  }
  // What was removed from the log is not shown from memory either.
  forget() {
    this.buffer.forget(); this.past.reset();
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    if (this.selected) this.ask({ kind: "event", seq: this.selected });
  }
  setState(state) {
    const before = this.heard;
    this.state = state; this.root.dataset.state = state;
    // What the address asks for could not be asked before.
    if (!before && this.heard && this.trace) this.askTrace(0);
    if (!before && this.heard && this.selected && !this.chosen) this.ask({ kind: "event", seq: this.selected });
    if (state === "lost") this.lostAt ??= Date.now(); else this.lostAt = null;
    // Who listens later reads there how it is.
    window.twConnection = state === "login" ? "lost" : state;
    window.dispatchEvent(new CustomEvent("tw-connection", { detail: window.twConnection }));
    this.sayState(); this.soon();
  }
  sayState() {
    const total = number(this.buffer.cursor);
    const old = this.lostAt ? duration((Date.now() - this.lostAt) / 1000) : "";
    const words = { connecting: "connecting…", open: `live · #${total}`, local: `following here, no server · #${total}`, lost: `connection lost; these rows are ${old} old`, login: "your login has ended; reload the page" };
    let now = words[this.state], state = this.state;
    if (state === "open" && this.sifter.ended) { now = `the past · the log is at #${total}`; state = "past"; }
    if (this.paused !== null && this.state !== "lost") now = `paused at #${number(this.paused)}`;
    if (this.said.lastWords === now) return;
    this.said.lastWords = now; this.said.dataset.state = state;
    this.said.replaceChildren(element("i"), document.createTextNode(now));
  }
  soon() {
    if (this.timer !== null) return;
    this.timer = setTimeout(() => requestAnimationFrame(() => { this.timer = null; this.last = performance.now(); this.paint(); }), Math.max(0, this.last + PAINT_MS - FRAME_MS - performance.now()));
  }
  filterChanged() { this.past.reset(); this.fresh = 0; this.list.scrollTop = 0; this.sayState(); this.soon(); }
  togglePause() {
    this.paused = this.paused === null ? this.buffer.cursor : null;
    if (this.paused === null) { this.fresh = 0; this.list.scrollTop = 0; }
    this.pause.setAttribute("aria-pressed", String(this.paused !== null));
    this.sayState(); this.soon();
  }
  toTop() { if (this.paused !== null) this.togglePause(); this.fresh = 0; this.list.scrollTop = 0; this.soon(); }
  paint() {
    const height = this.rowHeight(), matches = this.sifter.matcher();
    const here = this.buffer.events.filter((event) => (this.paused === null || event.seq <= this.paused) && matches(event));
    this.shown = this.past.events.length ? [...this.past.events, ...here] : here;
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
    this.paintPast(count * height); this.paintChips(); this.paintEmpty(count); this.sayState();
    this.newer.hidden = this.fresh === 0;
    if (this.fresh) this.newer.firstChild.textContent = `${number(this.fresh)} new ↑`;
    this.pause.textContent = this.paused === null ? "Pause" : this.fresh ? `Resume · ${number(this.fresh)} new` : "Resume";
    this.pause.hidden = this.sifter.ended;
  }
  // Whoever comes near the end sees what was before; what fits on the screen is fetched at once.
  paintPast(height) {
    if (this.heard && this.list.scrollTop + this.list.clientHeight > height - NEAR) this.past.ask(this.buffer.first, this.sifter.asked());
    const { waiting, problem, more, events } = this.past;
    this.foot.textContent = waiting ? "looking further back …" : problem ? `${problem}; change the filter to look again.` : !more ? (this.shown.length > 20 ? "nothing came before" : "") : events.length >= PAST_KEPT ? "choose a time to look further back" : "";
  }
  paintEmpty(count) {
    this.none.hidden = count > 0 || this.past.waiting;
    const words = this.past.problem ? "" : this.sifter.any ? "No event matches the filter." : "Nothing has happened yet. Ask Timmy something on the home page, and it shows here at once.";
    if (this.none.textContent !== words) this.none.textContent = words;
  }
  paintChips() {
    const { counts } = this.buffer, chosen = this.sifter.families, looks = this.model.get("families");
    const some = [...counts.keys()].filter((name) => counts.get(name) > 0);
    const names = [...new Set([...some, ...chosen, ...(this.allChips ? Object.keys(looks) : [])])].sort();
    const stamp = names.map((name) => `${name}${chosen.has(name)}${counts.get(name) ?? 0}`).join() + this.allChips;
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    const known = new Map([...this.chips.children].map((chip) => [chip.dataset.family, chip]));
    names.forEach((name, place) => {
      const chip = known.get(name) ?? this.chip(name);
      if (this.chips.children[place] !== chip) this.chips.insertBefore(chip, this.chips.children[place] ?? null);
      chip.setAttribute("aria-pressed", String(chosen.has(name)));
      chip.lastChild.textContent = counts.get(name) ? number(counts.get(name)) : "";
      known.delete(name);
    });
    for (const chip of known.values()) chip.remove();
    const hidden = Object.keys(looks).filter((name) => !names.includes(name)).length;
    if (hidden || this.allChips) this.chips.append(button("tw-chip-more", this.allChips ? "fewer" : `+${hidden} kinds`, () => { this.allChips = !this.allChips; this.soon(); }));
  }
  icon(name, className) {
    const span = element("span", className), look = this.model.get("families")[name] ?? { color: "var(--tw-off)", path: DOT };
    span.style.color = look.color; span.innerHTML = svg(look.path);
    return span;
  }
  chip(name) {
    const chip = button("tw-chip", "", () => this.sifter.toggle(name)); chip.dataset.family = name;
    chip.append(this.icon(name, "tw-row-icon"), document.createTextNode(name), element("b"));
    return chip;
  }
  mark(type) {
    const tone = this.model.get("tables").tones[type], mark = element("span", `tw-mark-${tone ?? "none"}`);
    if (tone) { mark.innerHTML = svg(MARKS[tone][0], 12); mark.title = MARKS[tone][1]; mark.setAttribute("role", "img"); mark.ariaLabel = MARKS[tone][1]; }
    return mark;
  }
  row(event) {
    const row = element("div", "tw-row"), when = new Date(event.ts), { tables, things } = { tables: this.model.get("tables"), things: this.model.get("things") };
    row.dataset.seq = event.seq; row.setAttribute("role", "option");
    const today = when.toDateString() === new Date(present()).toDateString(), clock = when.toLocaleTimeString([], { hour12: false });
    const time = element("time", "", today ? clock : `${when.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock.slice(0, 5)}`);
    time.dateTime = event.ts; time.title = when.toLocaleString();
    const type = element("span", "tw-row-type", event.type); type.title = tables.meanings[event.type] ?? "a type of one's own"; type.append(this.mark(event.type));
    const words = element("span", "tw-row-words", said(event, tables)); words.title = words.textContent;
    const [[href, what]] = thingsOf(event, things), thing = element("a", "tw-row-thing", what); thing.href = href; thing.tabIndex = -1;
    const trace = element("a", "tw-row-trace", event.trace_id ? `…${event.trace_id.slice(-6)}` : ""); trace.tabIndex = -1;
    if (event.trace_id) { trace.title = `everything of trace ${event.trace_id}`; trace.dataset.trace = event.trace_id; trace.href = `/swarm/events?trace=${encodeURIComponent(event.trace_id)}`; }
    row.append(time, this.icon(familyOf(event), "tw-row-icon"), type, words, thing, trace);
    if (event.seq > this.freshFrom) row.classList.add("tw-fresh");
    return row;
  }
  clicked(event) {
    if (event.metaKey || event.ctrlKey) return;
    const find = (selector) => event.target.closest(selector);
    const trace = find("[data-trace]"), goto = find("[data-goto]"), copies = find("[data-copies]");
    if (trace) { event.preventDefault(); this.showTrace(trace.dataset.trace); return; }
    if (goto) { event.preventDefault(); this.select(Number(goto.dataset.goto)); return; }
    if (copies) { copyText(copies, copies.dataset.copies); return; }
    const row = find(".tw-row");
    if (row && !find("a")) this.select(Number(row.dataset.seq) === this.selected ? null : Number(row.dataset.seq));
  }
  select(seq, { write = true } = {}) {
    this.selected = seq || null;
    if (write) writeAddress(["seq"], { seq: this.selected ? String(this.selected) : "" });
    this.chosen = this.shown.find((event) => event.seq === this.selected) ?? null;
    this.detail.hidden = !this.selected;
    if (this.chosen) this.fillDetail(this.chosen);
    else if (this.selected) { this.detail.replaceChildren(element("p", "tw-muted", `Looking for #${number(this.selected)} …`)); this.ask({ kind: "event", seq: this.selected }); }
    this.soon();
  }
  closing(words, does) { const close = button("tw-close", "✕", does); close.ariaLabel = words; return close; }
  fillDetail(event, problem) {
    const head = element("header"), close = this.closing("close the detail", () => this.select(null));
    if (!event) { head.append(element("strong", "", problem), close); this.detail.replaceChildren(head); return; }
    head.append(this.icon(familyOf(event), "tw-row-icon"), element("strong", "", event.type), this.mark(event.type), close);
    const tables = this.model.get("tables"), list = element("dl"), meaning = tables.meanings[event.type];
    const fact = (name, value, { copies = false, only = null } = {}) => {
      if (value === null || value === undefined || value === "") return;
      const holder = element("dd");
      if (copies) { const node = button("", value); node.dataset.copies = value; node.title = "click copies"; holder.append(node); } else holder.append(value);
      if (only) holder.append(button("tw-only", "only these", () => this.sifter.ask(only)));
      list.append(element("dt", "", name), holder);
    };
    fact("place", `#${number(event.seq)}`, { only: { type: event.type } }); fact("when", new Date(event.ts).toLocaleString()); fact("source", event.source);
    fact("task", event.task_id, { copies: true }); fact("agent", event.agent_id, { copies: true, only: { agent: event.agent_id } });
    fact("trace", event.trace_id, { copies: true }); fact("id", event.id, { copies: true });
    const links = element("ul", "tw-feed-things"), more = [[`/swarm/events?seq=${event.seq}`, "its record, with its proof"]];
    if (event.trace_id) more.push([`/swarm/events?trace=${encodeURIComponent(event.trace_id)}`, "the whole trace on Events"]);
    for (const [href, words] of new Map([...thingsOf(event, this.model.get("things")), ...more])) { const item = element("li"), link = element("a", "", words); link.href = href; item.append(link); links.append(item); }
    const whole = event.trace_id ? [button("tw-feed-go", "Show the whole trace", () => this.showTrace(event.trace_id))] : [];
    this.detail.replaceChildren(head, element("p", "tw-meaning", meaning ? `${meaning[0].toUpperCase()}${meaning.slice(1)}.` : "A type of one's own."), ...whole, links, list, element("pre", "", event.data === null ? "What this event said was redacted." : JSON.stringify(event.data, null, 2)));
  }
  // A trace: everything that one question or task caused, drawn by the kernel.
  showTrace(trace, { write = true } = {}) {
    if (trace === this.trace) return;
    this.trace = trace;
    if (write) writeAddress(["trace"], { trace }, { push: true });
    this.whole.hidden = !trace; this.root.toggleAttribute("data-trace-open", Boolean(trace));
    clearTimeout(this.asking); this.asking = null;
    if (!trace) { this.list.focus({ preventScroll: true }); return; }
    const head = element("header");
    head.append(element("strong", "", "Everything of one trace"), this.closing("close the trace", () => this.showTrace("")));
    this.drawn = element("div", "tw-feed-drawn"); this.drawn.append(element("p", "tw-muted", "One moment …"));
    this.whole.replaceChildren(head, this.drawn);
    this.askTrace(0);
  }
  askTrace(wait) { this.asking ??= setTimeout(() => { this.asking = null; this.ask({ kind: "trace", trace: this.trace }); }, wait); }
  fillTrace({ html }) { const at = this.whole.scrollTop; this.drawn.innerHTML = html; this.whole.scrollTop = at; }
  key(event) {
    if (event.key === "Escape" && (this.selected !== null || this.trace)) { if (this.selected !== null) this.select(null); else this.showTrace(""); event.preventDefault(); }
    if (event.target !== this.list) return;
    if (event.key === " ") { this.togglePause(); event.preventDefault(); }
    if (event.key === "t" && this.chosen?.trace_id) this.showTrace(this.chosen.trace_id);
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
  end() {
    this.follower.end(); this.past.end(); this.sifter.end();
    clearInterval(this.second); clearTimeout(this.timer); clearTimeout(this.asking); this.resized.disconnect();
    this.model.off("msg:custom", this.told);
    window.removeEventListener("popstate", this.back); this.deaf();
  }
}

export default { render: rendering(View) };
