// A list that is asked for as one types, and whose query lives in the address; `ui/sought.py` answers it. Joined after dom.js and brushing.js.

const number = (value) => value.toLocaleString("en-US");
const day = (moment) => moment.toLocaleDateString([], { day: "numeric", month: "short", year: moment.getFullYear() === new Date(present()).getFullYear() ? undefined : "numeric" });

// Whoever extends it has `build`, `paint`, `told` and `ask`, and begins.
class Sought {
  constructor(model, root, keys, waitMs) { Object.assign(this, { model, root, keys, waitMs, asked: 0, cursor: null, busy: false, waiting: null }); }
  begin() { this.build(); this.listen(); this.paint(); this.find(); }
  get query() { return this.model.get("query"); }
  // Returns whether that is another query than before.
  wish(wanted, replace) {
    const next = Object.fromEntries(this.keys.filter((key) => wanted[key]).map((key) => [key, wanted[key]]));
    if (JSON.stringify(next) === JSON.stringify(this.query)) return false;
    writeAddress(this.keys, next, { push: !replace });
    this.set(next);
    return true;
  }
  set(query) {
    this.model.set("query", query);
    this.model.save_changes();
    this.paint();
  }
  find() {
    this.asked += 1; this.busy = true;
    this.root.dataset.busy = "true";
    this.model.send({ kind: "find", number: this.asked, query: this.query });
  }
  typed(changes) { clearTimeout(this.waiting); this.waiting = setTimeout(() => this.ask(changes()), this.waitMs); }
  listen() {
    const heard = { "msg:custom": (message) => this.told(message), "change:names": () => this.paint(), "change:stamp": () => this.find() };
    // Anything on the page that asks for entries, such as an agent's bar or a count.
    const unheeded = heeded("seek", (link) => {
      const wanted = JSON.parse(link.dataset.seek), kept = this.keeps(wanted, link) ? {} : Object.fromEntries(this.keys.map((key) => [key, ""]));
      this.ask({ ...kept, ...wanted }, { replace: false });
      if (!this.root.contains(link)) this.root.scrollIntoView({ block: "start" });
    });
    const brush = new Brush(this.model, (stretch, options) => this.ask({ ...stretch, entry: "" }, options));
    // The browser's way back leads to what was sought before.
    const back = () => {
      const address = new URLSearchParams(location.search), query = Object.fromEntries(this.keys.filter((key) => address.get(key)).map((key) => [key, address.get(key)]));
      brush.leave();
      if (JSON.stringify(query) === JSON.stringify(this.query)) return;
      this.set(query);
      this.find();
    };
    for (const [name, does] of Object.entries(heard)) this.model.on(name, does);
    window.addEventListener("popstate", back);
    this.deaf = () => { for (const [name, does] of Object.entries(heard)) this.model.off(name, does); unheeded(); brush.end(); window.removeEventListener("popstate", back); };
  }
  // Whether what was asked for before stays beside what a link asks for.
  keeps() { return false; }
  end() { clearTimeout(this.waiting); this.deaf(); }
}
