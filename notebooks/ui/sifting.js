// What of the feed is shown: families, words, an agent, a type, a stretch of time. It stands in the address. Joined after wording.js.

const RANGES = [["", "live, and all before", 0], ["15m", "last 15 minutes", 900], ["1h", "last hour", 3600], ["24h", "last 24 hours", 86400], ["7d", "last 7 days", 604800], ["30d", "last 30 days", 2592000]];
const SIFTED = ["text", "family", "type", "agent", "range", "since", "until"];

function shortTime(text) {
  const moment = new Date(text);
  const day = moment.toDateString() === new Date(present()).toDateString() ? "" : `${moment.toLocaleDateString([], { day: "numeric", month: "short" })} `;
  return day + moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

function fromAddress() {
  const address = new URLSearchParams(location.search);
  const query = Object.fromEntries(SIFTED.filter((key) => address.get(key)).map((key) => [key, address.get(key)]));
  for (const key of ["since", "until"]) if (query[key] && Number.isNaN(Date.parse(query[key]))) delete query[key];
  if (query.range && !RANGES.some(([key]) => key === query.range)) delete query.range;
  return query;
}

class Sifter {
  constructor(changed) {
    Object.assign(this, { changed, query: fromAddress() });
    this.began = Date.now();
    this.build();
    this.paint();
    this.back = () => { this.query = fromAddress(); this.paint(); this.changed(); };
    window.addEventListener("popstate", this.back);
  }
  get families() { return new Set((this.query.family ?? "").split(",").filter(Boolean)); }
  // Whether it ends in the past, so that nothing new belongs into it.
  get ended() { return Boolean(this.query.until) && Date.parse(this.query.until) < present(); }
  get any() { return SIFTED.some((key) => this.query[key]); }
  ask(changes, { push = true } = {}) {
    const merged = { ...this.query, ...changes };
    if (changes.range !== undefined) { delete merged.since; delete merged.until; }
    if ("since" in changes || "until" in changes) delete merged.range;
    this.query = Object.fromEntries(SIFTED.filter((key) => merged[key]).map((key) => [key, merged[key]]));
    this.began = Date.now();
    writeAddress(SIFTED, this.query, { push });
    this.paint();
    this.changed();
  }
  toggle(family) {
    const families = this.families;
    if (!families.delete(family)) families.add(family);
    this.ask({ family: [...families].sort().join(",") });
  }
  bounds() {
    const { range, since, until } = this.query, seconds = RANGES.find(([key]) => key === range)?.[2];
    return [seconds ? this.began - seconds * 1000 : since ? Date.parse(since) : -Infinity, until ? Date.parse(until) : Infinity];
  }
  // For the kernel: a range as the moment at which it began.
  asked() {
    const { text, family, type, agent } = this.query, [from, to] = this.bounds();
    const moment = (value) => (Number.isFinite(value) ? new Date(value).toISOString() : "");
    return { text, family, type, agent, since: moment(from), until: moment(to) };
  }
  matcher() {
    const { type, agent, text } = this.query, families = this.families, [from, to] = this.bounds();
    const parts = (text ?? "").toLowerCase().split(/\s+/).filter(Boolean), timed = Number.isFinite(from) || Number.isFinite(to);
    return (event) => {
      if (families.size && !families.has(familyOf(event))) return false;
      if ((type && event.type !== type) || (agent && event.agent_id !== agent)) return false;
      if (timed) { event.at ??= Date.parse(event.ts); if (event.at < from || event.at >= to) return false; }
      if (!parts.length) return true;
      event.haystack ??= JSON.stringify(event).toLowerCase();
      return parts.every((part) => event.haystack.includes(part));
    };
  }
  build() {
    this.search = element("input", "tw-feed-text");
    Object.assign(this.search, { type: "search", placeholder: "filter by words", ariaLabel: "filter by words", spellcheck: false });
    this.search.oninput = () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.ask({ text: this.search.value.trim() }, { push: false }), 200); };
    this.range = element("select", "tw-feed-range"); this.range.ariaLabel = "time";
    for (const [value, words] of [...RANGES, ["custom", "from … to …"]]) this.range.append(new Option(words, value));
    this.range.onchange = () => { if (this.range.value === "custom") { this.custom.hidden = false; this.from.focus(); } else this.ask({ range: this.range.value }); };
    this.custom = element("form", "tw-feed-custom"); this.custom.hidden = true;
    this.from = element("input"); this.to = element("input");
    for (const [input, words] of [[this.from, "from"], [this.to, "to"]]) {
      Object.assign(input, { type: "datetime-local", ariaLabel: words });
      const label = element("label", "", words); label.append(input); this.custom.append(label);
    }
    const go = element("button", "tw-feed-go", "Show"); go.type = "submit";
    this.custom.append(go, element("span", "tw-muted", `in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`));
    this.custom.onsubmit = (event) => {
      event.preventDefault(); this.custom.hidden = true;
      const [since, until] = [this.from.value, this.to.value].map((value) => (value ? new Date(value).toISOString() : ""));
      this.ask({ since, until });
    };
    this.on = element("div", "tw-feed-on");
  }
  paint() {
    const { query } = this;
    if (this.search.getRootNode().activeElement !== this.search) this.search.value = query.text ?? "";
    this.range.value = query.since || query.until ? "custom" : query.range ?? "";
    this.from.value = localTime(query.since); this.to.value = localTime(query.until);
    const chips = [];
    const add = (name, shown, changes) => {
      const chip = button("tw-on", "", () => this.ask(changes));
      chip.append(element("span", "tw-muted", name), element("b", "", shown), element("span", "tw-x", "✕"));
      chip.ariaLabel = `${name} ${shown}: remove this filter`;
      chips.push(chip);
    };
    if (query.since || query.until) add("time", `${query.since ? shortTime(query.since) : "…"} – ${query.until ? shortTime(query.until) : "now"}`, { since: "", until: "" });
    if (query.type) add("type", query.type, { type: "" });
    if (query.agent) add("agent", query.agent, { agent: "" });
    if (SIFTED.filter((key) => query[key]).length > 1) chips.push(button("tw-clear", "clear all", () => this.ask(Object.fromEntries(SIFTED.map((key) => [key, ""])))));
    this.on.replaceChildren(...chips);
    this.on.hidden = !chips.length;
  }
  end() { clearTimeout(this.typing); window.removeEventListener("popstate", this.back); }
}
