// The tasks above the feed: one line each, one of them in full beside it, a form for a new one. The feed says when to look again.

const AGAIN_MS = 250, LOOK_MS = 10000, UNPAID_MS = 2000;
const DEADLINES = [["", "none"], [600, "10 minutes"], [3600, "1 hour"], [21600, "6 hours"], [86400, "1 day"]];
const AUCTIONS = [["", "the usual"], [2, "2 s"], [10, "10 s"], [30, "30 s"], [60, "1 minute"], [600, "10 minutes"]];
const FAMILIES = ["task", "bid", "auction", "agent", "payment"];

function field(tag, name, options = {}) { return Object.assign(element(tag, "tw-write"), { ariaLabel: name, autocomplete: "off", ...options }); }
function choice(name, options) { const node = field("select", name); node.append(...options.map(([value, words]) => new Option(words, value))); return node; }

class Tasking {
  constructor(model, el) {
    Object.assign(this, { model, asked: 0, all: false, rows: [], chosen: new URLSearchParams(location.search).get("task") ?? "", waiting: {}, unpaid: false, heard: true, orphaned: false });
    this.root = element("section", "tw-tasks");
    el.append(this.root);
    this.hands = handsOf(el);
    this.build();
    this.listen();
    this.look();
    if (this.chosen) this.send({ kind: "task", id: this.chosen });
  }
  build() {
    const head = element("header", "tw-tasks-head");
    this.title = element("h2", "", "Tasks"); this.count = element("span", "tw-muted");
    this.kind = button("tw-tasks-all", "", () => { this.all = !this.all; this.look(); });
    this.kind.hidden = true;
    this.poster = button("tw-tasks-post", "Post a task …", () => this.post());
    head.append(this.title, this.count, this.kind, this.poster);
    const both = element("div", "tw-tasks-both");
    this.list = element("ul", "tw-tasks-list"); this.detail = element("aside", "tw-tasks-detail"); this.detail.hidden = true; this.detail.ariaLabel = "the chosen task";
    this.list.onclick = (event) => { const row = event.target.closest("[data-task]"); if (row) this.choose(row.dataset.task === this.chosen ? "" : row.dataset.task); };
    this.list.onkeydown = (event) => { const row = event.target.closest("[data-task]"); if (row && event.key === "Enter") this.choose(row.dataset.task); };
    this.root.onkeydown = (event) => { if (event.key === "Escape" && this.chosen) { this.choose(""); event.preventDefault(); } };
    both.append(this.list, this.detail);
    this.root.append(head, both);
    // The feed below takes what the tasks leave of the window.
    this.sized = new ResizeObserver(() => document.body.style.setProperty("--tw-tasks", `${Math.round(this.root.offsetHeight + 14)}px`));
    this.sized.observe(this.root);
  }
  listen() {
    this.came = (message) => this.take(message);
    this.model.on("msg:custom", this.came);
    this.fed = (event) => { if (FAMILIES.some((name) => event.detail.has(name))) this.soon(); };
    window.addEventListener("tw-events", this.fed);
    // The kernel does not hear while the server is away, nor after its restart until the page is drawn anew.
    this.connected = (event) => {
      const before = this.heard;
      this.heard = event.detail === "open" || event.detail === "local";
      if (this.heard && !before) this.look(); // what was asked meanwhile was not heard
    };
    this.orphan = () => { this.orphaned = true; };
    window.addEventListener("tw-connection", this.connected);
    window.addEventListener("tw-orphaned", this.orphan);
    this.back = () => this.choose(new URLSearchParams(location.search).get("task") ?? "", { write: false });
    window.addEventListener("popstate", this.back);
    this.click = (event) => { const stop = event.target.closest("[data-cancel]"); if (stop) this.cancel(stop.dataset.cancel); };
    this.detail.addEventListener("click", this.click);
    // That the pay has come is noted after the last event that tells of it.
    this.paying = setInterval(() => { if (!document.hidden && this.unpaid) this.send({ kind: "task", id: this.chosen }); }, UNPAID_MS);
    this.slow = setInterval(() => { if (!document.hidden && this.rows.some((row) => row.open)) this.look(); }, LOOK_MS);
  }
  send(order) {
    this.asked += 1;
    if (this.heard && !this.orphaned) this.model.send({ ...order, number: this.asked });
    else if (order.kind === "post") this.refuse("The server does not answer; wait until it is back, and post the task again.");
    else if (order.kind === "cancel") this.hands.say("bad", "The server does not answer; nothing was changed.");
    return this.asked;
  }
  soon() { this.timer ??= setTimeout(() => { this.timer = null; this.look(); if (this.chosen) this.send({ kind: "task", id: this.chosen }); }, AGAIN_MS); }
  look() { this.waiting.list = this.send({ kind: "list", all: this.all }); }
  take(message) {
    const { kind, problem } = message;
    if (kind === "list" && message.number === this.waiting.list) { if (problem) this.trouble(problem); else this.paint(message); }
    if (kind === "task" && message.id === this.chosen) { this.fill(problem ? "" : message.html, problem); this.unpaid = Boolean(message.unpaid); }
    if (kind === "post") this.posted(message);
    if (kind === "cancel") { this.hands.say(problem ? "bad" : "good", problem || message.words); this.soon(); }
  }
  trouble(words) { this.count.textContent = ""; this.list.replaceChildren(element("li", "tw-tasks-none", words)); }
  paint({ rows, count, open, more, offers }) {
    Object.assign(this, { rows, offers });
    this.count.textContent = count ? `${open ? `${open} open of ` : ""}${count.toLocaleString("en-US")}` : "";
    this.kind.hidden = !this.all && !more;
    this.kind.textContent = this.all ? "show the newest" : "show more";
    const nobody = !offers.agents.length, none = element("li", "tw-tasks-none");
    none.textContent = nobody ? "No task yet, and no agent is here to do one; “timmy agent run” starts one." : `No task yet. Post one, and ${offers.agents.join(", ")} bid for it.`;
    this.list.replaceChildren(...(rows.length ? rows.map((row) => this.row(row)) : [none]));
    this.root.toggleAttribute("data-all", this.all);
    // What stands above the feed may have changed with it.
    const stamp = JSON.stringify([open, offers.agents.length]);
    if (stamp !== this.stamp) { this.stamp = stamp; this.model.set("beat", this.model.get("beat") + 1); this.model.save_changes(); }
  }
  row({ id, title, pill, words, at }) {
    const row = element("li", "tw-task"), name = element("b", "", title), moment = new Date(at), state = element("span", "tw-task-state");
    row.dataset.task = id; row.tabIndex = 0; row.setAttribute("role", "button"); row.setAttribute("aria-expanded", String(id === this.chosen));
    state.innerHTML = pill; name.title = title;
    const standing = element("span", "tw-muted", words); standing.title = words;
    const time = element("time", "", ""); time.dateTime = at; time.dataset.style = "ago"; time.title = moment.toLocaleString();
    const seconds = Math.max(0, Math.round((present() - moment) / 1000));
    time.textContent = seconds < 60 ? `${seconds} s ago` : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`;
    row.append(state, name, standing, time);
    return row;
  }
  choose(id, { write = true } = {}) {
    if (id === this.chosen) return;
    this.chosen = id; this.unpaid = false;
    if (write) writeAddress(["task"], { task: id });
    for (const row of this.list.children) if (row.dataset.task) row.setAttribute("aria-expanded", String(row.dataset.task === id));
    if (id) this.send({ kind: "task", id }); else this.fill("");
  }
  fill(html, problem) {
    this.detail.hidden = !html && !problem;
    if (problem) this.detail.replaceChildren(element("p", "tw-muted", problem)); else this.detail.innerHTML = html;
    if (html || problem) { const close = button("tw-close", "✕", () => this.choose("")); close.ariaLabel = "close the task"; this.detail.prepend(close); }
  }
  post() {
    const { agents = [], able = [], bidding_s: usual } = this.offers ?? {};
    const text = field("textarea", "what is to be done", { rows: 4, maxLength: 20000, placeholder: "Say what is to be done, as you would to a person." });
    const budget = field("input", "budget in sat", { type: "text", inputMode: "decimal", value: "100" });
    const auction = choice("bids are taken for", AUCTIONS), deadline = choice("to be done within", DEADLINES);
    auction.options[0].textContent = `the usual ${usual ?? ""} s`;
    const words = element("datalist"); words.id = "tw-able"; words.append(...able.map((one) => new Option(one, one)));
    const needs = field("input", "needs", { placeholder: able.length ? able.slice(0, 4).join(", ") : "anybody may bid" }); needs.setAttribute("list", "tw-able");
    const local = field("input", "nothing of it may leave this machine", { type: "checkbox", className: "" });
    const stays = element("label", "tw-task-local"); stays.append(local, "Nothing of it may leave this machine");
    const more = element("details", "tw-more-fields"), pair = element("div", "tw-field-row"), key = crypto.randomUUID?.().replaceAll("-", "") ?? `${Date.now()}${Math.random().toString(36).slice(2)}`;
    pair.append(labelled("bids are taken for", auction), labelled("to be done within", deadline));
    more.append(element("summary", "", "time, who may bid, privacy"), pair, labelled("needs", needs, "what an agent has to be able to do, such as text or code"), words, stays);
    const trouble = element("p", "tw-trouble"); trouble.setAttribute("role", "alert"); trouble.hidden = true;
    const what = agents.length ? `${agents.join(", ")} may bid. The lowest bid within the budget wins, and is paid out of the ledger once the work is done.` : "No agent is here, so nobody will bid until one comes: “timmy agent run” starts one.";
    const go = () => {
      if (!text.value.trim()) { text.focus(); return false; }
      does.disabled = true;
      this.waiting.post = this.send({ kind: "post", key, text: text.value, budget: budget.value, needs: needs.value, local_only: local.checked, bidding_s: Number(auction.value) || null, deadline_s: Number(deadline.value) || null });
      return false;
    };
    const does = this.hands.show("Post a task", [labelled("what is to be done", text), labelled("budget in sat", budget), more, element("p", "tw-muted tw-task-what", what), trouble], { word: "Post the task", focus: text, stays: true, css: "tw-form", go });
    this.refuse = (problem) => { does.disabled = false; trouble.textContent = problem; trouble.hidden = false; };
  }
  posted({ number, id, problem, words }) {
    if (number !== this.waiting.post) return;
    if (problem) { this.refuse?.(problem); return; }
    this.hands.dialog.close();
    this.hands.say("good", words);
    this.look(); this.choose(id);
  }
  cancel(id) {
    const reason = field("input", "why", { maxLength: 200, placeholder: "optional" });
    const words = element("p", "", "Whoever works on it is told to stop, and nothing is paid for it. It cannot be taken up again.");
    this.hands.show("Cancel this task?", [words, labelled("why", reason)], { word: "Cancel the task", danger: true, leave: "Let it go on", go: () => { this.send({ kind: "cancel", id, reason: reason.value }); } });
  }
  end() {
    clearTimeout(this.timer); clearInterval(this.slow); clearInterval(this.paying); this.sized.disconnect(); this.hands.end();
    this.model.off("msg:custom", this.came);
    window.removeEventListener("tw-events", this.fed); window.removeEventListener("tw-connection", this.connected); window.removeEventListener("tw-orphaned", this.orphan); window.removeEventListener("popstate", this.back);
    document.body.style.removeProperty("--tw-tasks");
  }
}

function render({ model, el }) {
  const tasking = new Tasking(model, el);
  return () => tasking.end();
}

export default { render };
