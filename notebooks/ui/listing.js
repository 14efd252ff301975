// The events that match, newest first: more come as the reader scrolls; a row shows its event beside.

const DOT = "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4z";
const number = (value) => value.toLocaleString("en-US");

function when(moment) {
  const clock = moment.toLocaleTimeString([], { hour12: false });
  if (moment.toDateString() === new Date(present()).toDateString()) return clock;
  if (moment.getFullYear() === new Date(present()).getFullYear()) return `${moment.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock}`;
  // Of another year the seconds matter less than the year; the whole moment is on hover.
  return `${moment.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" })} ${clock.slice(0, 5)}`;
}

class Listing {
  constructor(model, root) {
    Object.assign(this, { model, root, rows: [], waiting: false });
    this.build();
    this.listen();
    this.paint();
  }
  build() {
    this.root.className = "tw-found";
    const head = element("div", "tw-found-head tw-found-row"); head.ariaHidden = "true";
    for (const [name, word] of [["when", "when"], ["icon", ""], ["type", "type"], ["words", "what"], ["who", "agent or task"], ["source", "source"], ["seq", "#"]]) head.append(element("span", `tw-found-${name}`, word));
    head.firstChild.title = `in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
    this.list = element("div", "tw-found-list");
    this.list.tabIndex = 0; this.list.setAttribute("role", "listbox"); this.list.ariaLabel = "events that match, newest first";
    this.body = element("div"); this.foot = element("div", "tw-found-foot");
    this.list.append(this.body, this.foot);
    this.root.append(head, this.list);
    this.list.onclick = (event) => { const row = event.target.closest("[data-seq]"); if (row) this.choose(Number(row.dataset.seq), true); };
    this.list.onkeydown = (event) => this.key(event);
    this.near = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) this.more(); }, { root: this.list, rootMargin: "400px" });
    this.near.observe(this.foot);
  }
  listen() {
    this.changed = () => this.paint();
    this.model.on("change:page", this.changed);
    this.came = (message) => { if (message.kind === "rows" && message.query === this.model.get("page").query) this.add(message); };
    this.model.on("msg:custom", this.came);
    // Anything on the page that names an event, such as a neighbour or a bar of a trace, shows it here.
    this.deaf = heeded("goto", (link) => this.choose(Number(link.dataset.goto)));
  }
  paint() {
    const page = this.model.get("page");
    this.rows = []; this.waiting = false;
    this.body.replaceChildren(); this.list.scrollTop = 0;
    this.root.hidden = page.rows.length === 0;
    this.add(page);
  }
  add({ rows, more }) {
    this.waiting = false; this.left = more;
    this.rows.push(...rows);
    this.body.append(...rows.map((row) => this.row(row)));
    this.foot.textContent = more ? (this.rows.length < this.model.get("kept") ? "loading more …" : `${number(this.rows.length)} shown; choose a shorter time to see what came before`) : this.rows.length > 20 ? `all ${number(this.rows.length)} shown` : "";
    this.mark();
    // Without this a first page that is shorter than the box would never ask for the next.
    if (more) { this.near.unobserve(this.foot); this.near.observe(this.foot); }
  }
  more() {
    if (!this.left || this.waiting || this.rows.length >= this.model.get("kept")) return;
    this.waiting = true;
    this.model.send({ kind: "more", before: this.rows[this.rows.length - 1].seq, query: this.model.get("page").query });
  }
  row({ seq, ts, type, words, who, source }) {
    const row = element("div", "tw-found-row"), moment = new Date(ts), look = this.model.get("families")[type.split(".")[0]] ?? {};
    row.dataset.seq = seq; row.setAttribute("role", "option");
    const time = element("time", "tw-found-when", when(moment)); time.dateTime = ts; time.title = moment.toLocaleString();
    const icon = element("span", "tw-found-icon"); icon.style.color = look.color ?? "var(--tw-off)";
    icon.innerHTML = `<svg width="15" height="15" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${look.path || DOT}"></path></svg>`;
    const said = element("span", "tw-found-words", words); said.title = words;
    const whose = element("span", "tw-found-who", who.length > 20 ? `…${who.slice(-8)}` : who); whose.title = who;
    const kind = element("span", "tw-found-type", type); kind.title = type;
    row.append(time, icon, kind, said, whose, element("span", "tw-found-source", source), element("span", "tw-found-seq", number(seq)));
    return row;
  }
  choose(seq, again = false) {
    const chosen = this.model.get("chosen");
    const next = again && chosen === seq ? 0 : seq;
    writeAddress(["seq"], { seq: next || "" });
    this.model.set("chosen", next); this.model.save_changes();
    this.mark();
    if (matchMedia("(max-width: 999px)").matches) this.goTo(next);
  }
  // Where the detail stands below the list and not beside it, the reader is taken there, and back when it is closed.
  goTo(seq, tries = 20) {
    clearTimeout(this.going);
    if (!seq) { this.root.scrollIntoView({ block: "nearest" }); return; }
    const detail = document.querySelector(`.tw-detail[data-seq="${seq}"]`);
    if (detail) detail.scrollIntoView({ block: "start" });
    else if (tries) this.going = setTimeout(() => this.goTo(seq, tries - 1), 150);
  }
  mark() {
    const chosen = this.model.get("chosen");
    for (const row of this.body.children) row.setAttribute("aria-selected", String(Number(row.dataset.seq) === chosen));
  }
  key(event) {
    const chosen = this.model.get("chosen");
    if (event.key === "Escape" && chosen) { this.choose(0); event.preventDefault(); }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const at = this.rows.findIndex((row) => row.seq === chosen);
    const next = at < 0 ? 0 : Math.min(this.rows.length - 1, Math.max(0, at + (event.key === "ArrowDown" ? 1 : -1)));
    if (!this.rows[next] || next === at) return;
    this.choose(this.rows[next].seq);
    this.body.children[next].scrollIntoView({ block: "nearest" });
  }
  end() {
    this.near.disconnect();
    this.model.off("change:page", this.changed);
    this.model.off("msg:custom", this.came);
    this.deaf();
  }
}

export default { render: rendering(Listing) };
