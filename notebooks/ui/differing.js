// A diff as people know it: a tree of files, one column or two, and unchanged lines that open on a click.

const TWO_COLUMNS_FROM = 900, MODE_KEY = "tw-diff-columns";
const SIGNS = { added: "added", removed: "removed", changed: "" };

function remembered() { try { return localStorage.getItem(MODE_KEY); } catch { return null; } }
function remember(mode) { try { localStorage.setItem(MODE_KEY, mode); } catch { /* a browser may keep nothing */ } }

class Differing {
  constructor(model, el) {
    Object.assign(this, { model, asked: 0, waiting: new Map(), files: [] });
    this.root = element("div", "tw-diff");
    el.append(this.root);
    this.mode = remembered() ?? (innerWidth >= TWO_COLUMNS_FROM ? "two" : "one");
    this.changed = () => this.draw();
    this.came = (message) => this.told(message);
    model.on("change:shown", this.changed);
    model.on("msg:custom", this.came);
    this.narrow = matchMedia(`(max-width: ${TWO_COLUMNS_FROM - 1}px)`);
    this.phone = matchMedia("(max-width: 700px)");
    for (const width of [this.narrow, this.phone]) width.addEventListener("change", this.changed);
    this.draw();
  }
  get two() { return this.mode === "two" && !this.narrow.matches; }
  draw() {
    const shown = this.model.get("shown");
    this.root.replaceChildren();
    this.files = (shown.files ?? []).map((file) => ({ ...file, blocks: file.hunks ? this.blocks(file, file.hunks) : null }));
    if (!shown.key) return;
    if (shown.problem) { this.root.append(element("p", "tw-diff-none", shown.problem)); return; }
    const main = element("div", "tw-diff-files");
    for (const file of this.files) main.append(this.file(file));
    this.root.append(this.bar(shown), this.files.length > 1 ? this.tree() : "", main);
    this.root.classList.toggle("tw-diff-one-file", this.files.length < 2);
  }
  bar(shown) {
    const bar = element("div", "tw-diff-bar"), sum = (key) => this.files.reduce((total, file) => total + file[key], 0);
    bar.append(element("b", "", this.files.length === 1 ? "1 file" : `${this.files.length} files`), this.counts(sum("added"), sum("removed")));
    if (shown.cut) bar.append(element("span", "tw-diff-note", "too long to be shown whole"));
    const choice = element("div", "tw-diff-modes");
    choice.setAttribute("role", "group"); choice.ariaLabel = "how the diff is laid out";
    for (const [mode, word] of [["one", "One column"], ["two", "Side by side"]]) {
      const one = button("", word, () => { this.mode = mode; remember(mode); this.redraw(); });
      one.setAttribute("aria-pressed", String(this.mode === mode));
      choice.append(one);
    }
    bar.append(choice);
    return bar;
  }
  counts(added, removed) {
    const counts = element("span", "tw-diff-counts");
    counts.append(element("ins", "", `+${added}`), " ", element("del", "", `−${removed}`));
    return counts;
  }
  // Layout alone changes here; what was opened stays open.
  redraw() {
    for (const one of this.root.querySelectorAll(".tw-diff-modes button")) one.setAttribute("aria-pressed", String((one.textContent === "Side by side") === (this.mode === "two")));
    for (const file of this.files) if (file.body) this.fill(file);
  }
  tree() {
    const tree = element("details", "tw-diff-tree"), list = element("ul");
    tree.open = !this.narrow.matches;
    tree.append(element("summary", "", "Files"), list);
    let folder = null;
    for (const file of this.files) {
      const at = file.path.lastIndexOf("/"), parent = at < 0 ? "" : file.path.slice(0, at);
      if (parent !== folder && parent) list.append(element("li", "tw-diff-folder", `${parent}/`));
      folder = parent;
      const item = element("li", parent ? "tw-diff-inside" : ""), link = button("tw-diff-to", file.path.slice(at + 1), () => this.go(file));
      link.title = file.path;
      item.append(link, this.counts(file.added, file.removed));
      list.append(item);
    }
    return tree;
  }
  go(file) {
    file.box.open = true;
    file.box.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    file.box.querySelector("summary").focus({ preventScroll: true });
  }
  file(file) {
    const box = element("details", "tw-diff-file"), head = element("summary");
    const name = element("span", "tw-diff-path", file.path);
    head.append(name);
    const word = SIGNS[file.status];
    if (word) head.append(element("span", `tw-diff-word tw-diff-${word}`, word));
    if (file.mode) head.append(element("span", "tw-diff-note", file.mode));
    head.append(file.binary ? element("span", "tw-diff-note", "not text") : this.counts(file.added, file.removed));
    file.body = element("div", "tw-diff-body");
    file.box = box;
    box.append(head, file.body);
    box.open = Boolean(file.blocks) && !file.binary;
    box.addEventListener("toggle", () => { if (box.open && !file.blocks) this.load(file); });
    if (file.blocks) this.fill(file);
    else file.body.append(element("p", "tw-diff-none", `${file.lines.toLocaleString()} lines; they come when this is opened.`));
    return box;
  }
  load(file) {
    file.body.replaceChildren(element("p", "tw-diff-none", "One moment …"));
    this.ask({ kind: "file", file: file.number }, ({ hunks, end, problem }) => {
      if (problem) { file.body.replaceChildren(element("p", "tw-diff-none", problem)); return; }
      file.end = end;
      file.blocks = this.blocks(file, hunks);
      this.fill(file);
    });
  }
  // Between hunks, before the first and after the last there may be lines that did not change.
  blocks(file, hunks) {
    const blocks = [];
    let old = 1, now = 1;
    for (const hunk of hunks) {
      if (file.status === "changed" && file.end && hunk.new > now) blocks.push({ gap: hunk.new - now, old, new: now, heading: hunk.heading });
      blocks.push({ rows: hunk.rows });
      old = hunk.old + hunk.rows.filter(([sign]) => sign !== "+").length; now = hunk.new + hunk.rows.filter(([sign]) => sign !== "-").length;
    }
    if (file.status === "changed" && !file.cut && file.end >= now) blocks.push({ gap: file.end - now + 1, old, new: now, heading: "" });
    return blocks;
  }
  fill(file) {
    if (file.binary) { file.body.replaceChildren(element("p", "tw-diff-none", "It is not text, so there are no lines to show.")); return; }
    if (!file.blocks) return;
    const table = element("table", this.two ? "tw-diff-two" : "tw-diff-one"), body = element("tbody");
    const columns = element("colgroup");
    for (const name of this.two ? ["no", "half", "no", "half"] : this.phone.matches ? ["no", "rest"] : ["no", "no", "rest"]) columns.append(element("col", `tw-diff-col-${name}`));
    table.append(columns, body);
    for (const block of file.blocks) body.append(...(block.rows ? this.rows(block.rows) : [this.gap(file, block)]));
    file.body.replaceChildren(table);
    if (file.cut) file.body.append(element("p", "tw-diff-none", "The rest is too long to be shown here; look at it with git."));
  }
  rows(rows) { return this.two ? this.beside(rows) : rows.map((row) => this.line(row)); }
  cell(sign, html) {
    const cell = element("td", `tw-diff-code${sign === "+" ? " tw-diff-plus" : sign === "-" ? " tw-diff-minus" : ""}`);
    cell.dataset.sign = sign;
    cell.innerHTML = html || " ";
    return cell;
  }
  number(value) { const cell = element("td", "tw-diff-no"); cell.dataset.number = value ?? ""; return cell; }
  line([sign, old, now, html]) {
    const row = element("tr");
    // A phone has room for one number: the one that the line has.
    row.append(...(this.phone.matches ? [this.number(now ?? old)] : [this.number(old), this.number(now)]), this.cell(sign, html));
    return row;
  }
  beside(rows) {
    const made = [];
    let gone = [], come = [];
    const flush = () => {
      for (let place = 0; place < Math.max(gone.length, come.length); place += 1) made.push(this.pair(gone[place], come[place]));
      gone = []; come = [];
    };
    for (const row of rows) {
      if (row[0] === "-") { if (come.length) flush(); gone.push(row); } else if (row[0] === "+") come.push(row);
      else { flush(); made.push(this.pair(row, row)); }
    }
    flush();
    return made;
  }
  pair(left, right) {
    const row = element("tr"), none = () => element("td", "tw-diff-code tw-diff-nothing");
    row.append(this.number(left?.[1]), left ? this.cell(left[0], left[3]) : none(), this.number(right?.[2]), right ? this.cell(right[0], right[3]) : none());
    return row;
  }
  gap(file, block) {
    const row = element("tr", "tw-diff-gap"), cell = element("td");
    cell.colSpan = this.two ? 4 : this.phone.matches ? 2 : 3;
    const words = `Show ${block.gap === 1 ? "1 unchanged line" : `${block.gap.toLocaleString()} unchanged lines`}`;
    const open = button("", words, () => { open.disabled = true; this.open(file, block); });
    cell.append(open);
    if (block.heading) cell.append(element("span", "", block.heading));
    row.append(cell);
    return row;
  }
  open(file, block) {
    this.ask({ kind: "gap", file: file.number, old: block.old, new: block.new, count: block.gap }, ({ rows, problem }) => {
      const at = file.blocks.indexOf(block), left = block.gap - (rows?.length ?? 0);
      if (at < 0 || problem) return;
      const after = rows.length && left ? [{ ...block, gap: left, old: block.old + rows.length, new: block.new + rows.length }] : [];
      file.blocks.splice(at, 1, { rows }, ...after);
      this.fill(file);
    });
  }
  ask(order, then) {
    this.asked += 1;
    const key = this.model.get("shown").key;
    this.waiting.set(this.asked, (message) => { if (this.model.get("shown").key === key) then(message); });
    this.model.send({ ...order, key, number: this.asked });
  }
  told(message) {
    this.waiting.get(message.number)?.(message);
    this.waiting.delete(message.number);
  }
  end() {
    this.model.off("change:shown", this.changed);
    this.model.off("msg:custom", this.came);
    for (const width of [this.narrow, this.phone]) width.removeEventListener("change", this.changed);
  }
}

function render({ model, el }) {
  const differing = new Differing(model, el);
  return () => differing.end();
}

export default { render };
