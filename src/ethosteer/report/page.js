"use strict";
/* Sorting of tables, terms explained, and the item-by-item view. Whatever came from a model or a dataset is set as
   text (textContent), so nothing in it can run. */

const PAGE = 10;
const collator = new Intl.Collator("en", { numeric: true });

function make(tag, text = "", kind = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function quoted(text) {
  return `“${text}”`;
}

/* ---- tables: a click on a head sorts, a second click reverses the order ---- */

function cellValue(row, column) {
  const cell = row.cells[column];
  const text = (cell.querySelector(".value, .mark") || cell).textContent.trim();
  const plain = text.replace(/[\s,%↑↓<>]/g, "").replace("−", "-");
  const number = plain === "" ? NaN : Number(plain);
  return { text, number };
}

function compareCells(a, b) {
  if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number - b.number;
  if (Number.isNaN(a.number) !== Number.isNaN(b.number)) return Number.isNaN(a.number) ? 1 : -1;
  return collator.compare(a.text, b.text);
}

function sortTable(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const rising = heads[column].getAttribute("aria-sort") !== "ascending";
  const body = table.tBodies[0];
  const rows = [...body.rows].filter((row) => !row.classList.contains("summary"));
  const keyed = rows.map((row) => ({ row, value: cellValue(row, column) }));
  keyed.sort((a, b) => (rising ? 1 : -1) * compareCells(a.value, b.value));
  body.prepend(...keyed.map((pair) => pair.row));
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
}

function makeSortable(table) {
  if (table.tBodies[0].rows.length < 3) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", "", "sort");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.querySelector(".term")) button.title = "sort by this column";
    button.addEventListener("click", () => sortTable(table, column));
    head.replaceChildren(button);
  });
}

/* ---- a table that is wider than the page says so at the side where it goes on ---- */

function markEdges(frame) {
  const wide = frame.firstElementChild;
  const mark = () => {
    const rest = wide.scrollWidth - wide.clientWidth - wide.scrollLeft;
    frame.classList.toggle("goes-left", wide.scrollLeft > 2);
    frame.classList.toggle("goes-right", rest > 2);
  };
  wide.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(wide);
}

/* ---- terms: their definition beside them, on hover, focus or touch ---- */

function explainTerms() {
  const tip = make("div", "", "tip");
  tip.id = "tip";
  tip.role = "tooltip";
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;
  const position = (term) => {
    const box = term.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = box.bottom + tip.offsetHeight + 8 < window.innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 4 : box.top - tip.offsetHeight - 4}px`;
  };
  const show = (term) => {
    shown = term;
    tip.textContent = term.dataset.meaning;
    tip.hidden = false;
    position(term);
  };
  const hide = () => {
    shown = null;
    tip.hidden = true;
  };
  for (const term of document.querySelectorAll(".term")) {
    term.dataset.meaning = term.title;
    term.removeAttribute("title");
    // inside a button or a summary, that takes the focus, and nothing in it may
    const holder = term.closest("button, summary") || term;
    if (holder !== term) term.removeAttribute("tabindex");
    term.setAttribute("aria-describedby", "tip");
    term.addEventListener("pointerenter", () => show(term));
    term.addEventListener("pointerleave", hide);
    holder.addEventListener("focus", () => holder.matches(":focus-visible") && show(term));
    holder.addEventListener("blur", hide);
    term.addEventListener("click", () => show(term));
  }
  const follow = () => shown && position(shown);
  window.addEventListener("scroll", follow, { passive: true, capture: true });
  window.addEventListener("pointerdown", hide);
  window.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}

/* ---- folded sections: a link opens what it leads to ---- */

function unfold(element) {
  for (let node = element; node; node = node.parentElement)
    if (node.tagName === "DETAILS") node.open = true;
}

function unfoldTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  unfold(target);
  target.scrollIntoView();
}

/* ---- item by item ---- */

async function unpack(block) {
  const bytes = Uint8Array.from(atob(block.textContent.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const STATES = {
  gain: ["A right, B wrong", (a, b) => a === true && b === false],
  loss: ["A wrong, B right", (a, b) => a === false && b === true],
  differ: ["different answers", (a, b, same) => !same],
  right: ["both right", (a, b) => a === true && b === true],
  wrong: ["both wrong", (a, b) => a === false && b === false],
  all: ["all items", () => true],
};

class ItemBrowser {
  constructor(root) {
    this.root = root;
    this.started = false;
    this.blocks = new Map();
    for (const block of root.querySelectorAll("script[data-benchmark]"))
      this.blocks.set(block.dataset.benchmark, block);
    this.opened = new Map();
    this.controls = Object.fromEntries(
      [...root.querySelectorAll("[name]")].map((control) => [control.name, control]),
    );
    this.list = root.querySelector("ol");
    this.count = root.querySelector(".count");
    this.more = root.querySelector(".more");
    for (const name of ["a", "b", "state", "slice"])
      this.controls[name].addEventListener("change", () => this.show());
    this.controls.benchmark.addEventListener("change", () => this.open());
    this.controls.search.addEventListener("input", () => this.show());
    this.more.addEventListener("click", () => this.append());
    root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    root.hidden = false;
  }

  fill(name, options, chosen) {
    const control = this.controls[name];
    control.replaceChildren(
      ...options.map(([value, text]) => {
        const option = make("option", text);
        option.value = value;
        return option;
      }),
    );
    if (options.some(([value]) => value === chosen)) control.value = chosen;
  }

  /* Unpack the chosen benchmark, once, and offer its models and slices. */
  async open(selection = {}) {
    this.started = true;
    const name = this.controls.benchmark.value;
    if (!this.opened.has(name)) {
      this.count.textContent = "unpacking…";
      this.opened.set(name, await unpack(this.blocks.get(name)));
    }
    if (name !== this.controls.benchmark.value) return;
    this.data = this.opened.get(name);
    const seeds = new Map();
    this.data.models.forEach(([model]) => seeds.set(model, (seeds.get(model) || 0) + 1));
    const models = this.data.models.map(([model, seed], index) => [
      String(index),
      seeds.get(model) > 1 ? `${model}, seed ${seed}` : model,
    ]);
    const first = (model) => String(this.data.models.findIndex(([name]) => name === model));
    const control = this.root.dataset.control;
    const others = this.data.models.map(([model]) => model).filter((model) => model !== control);
    this.fill("a", models, first(selection.a ?? others.at(-1)));
    this.fill("b", models, first(selection.b ?? control));
    const labelled = this.data.labels.some((label) => label !== null);
    const states = Object.entries(STATES).map(([key, [text]]) => [key, text]);
    this.fill(
      "state",
      labelled ? states : states.filter(([key]) => key === "differ" || key === "all"),
      selection.state ?? (labelled ? "gain" : "differ"),
    );
    this.fill("slice", [["", "all groups"], ...this.data.slices.map((slice, i) => [String(i), slice])]);
    this.controls.slice.closest("label").hidden = this.data.slices.length === 0;
    this.show();
  }

  right(model, item) {
    const label = this.data.labels[item];
    return label === null ? null : this.data.predicted[model][item] === label;
  }

  matches(item, a, b, state, slice, words) {
    const { predicted, inSlices, ids, groups, prompts, texts } = this.data;
    const same = predicted[a][item] === predicted[b][item];
    if (!STATES[state][1](this.right(a, item), this.right(b, item), same)) return false;
    if (slice !== "" && !inSlices[item].includes(Number(slice))) return false;
    if (words.length === 0) return true;
    const answers = texts ? [texts[a][item], texts[b][item]] : [];
    const known = [ids[item], groups[item], ...prompts[item], ...this.expected(item)];
    const text = [...known, ...answers].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  show() {
    const [a, b] = [Number(this.controls.a.value), Number(this.controls.b.value)];
    const { state, slice, search } = this.controls;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.matching = this.data.ids
      .map((_, item) => item)
      .filter((item) => this.matches(item, a, b, state.value, slice.value, words));
    const total = this.data.ids.length.toLocaleString("en");
    const shown = this.matching.length.toLocaleString("en");
    this.count.textContent = `${shown} of ${total} items: ${STATES[state.value][0]}`;
    this.list.replaceChildren();
    this.append();
  }

  append() {
    const start = this.list.children.length;
    const next = this.matching.slice(start, start + PAGE);
    this.list.append(...next.map((item) => this.item(item)));
    const remaining = this.matching.length - this.list.children.length;
    this.more.hidden = remaining === 0;
    this.more.textContent = `Show ${Math.min(PAGE, remaining)} more of ${remaining}`;
  }

  item(item) {
    const { ids, groups, slices, inSlices, prompts, choices, labels } = this.data;
    const entry = make("li");
    const tags = [groups[item], ...inSlices[item].map((index) => slices[index])];
    const head = make("p", "", "item-head");
    head.append(make("strong", ids[item]));
    for (const tag of tags) if (tag) head.append(make("span", tag, "tag"));
    entry.append(head);
    for (const [index, prompt] of prompts[item].entries()) {
      const paragraph = make("p", prompt, "prompt");
      paragraph.dir = "auto";
      if (prompts[item].length > 1) paragraph.append(make("mark", choices[item][index]));
      entry.append(paragraph);
    }
    if (this.expected(item).length > 0)
      entry.append(make("p", `Expected: ${this.expected(item).map(quoted).join(" or ")}`, "gold"));
    else if (labels[item] !== null)
      entry.append(make("p", `Right: ${this.choice(item, labels[item])}`, "gold"));
    const answers = make("dl");
    for (const [letter, name] of [["A", "a"], ["B", "b"]]) {
      const control = this.controls[name];
      answers.append(make("dt", `${letter}: ${control.selectedOptions[0].textContent}`));
      answers.append(this.answer(Number(control.value), item));
    }
    entry.append(answers);
    return entry;
  }

  /* The answers that count as correct where answers are free; [] where they are chosen. */
  expected(item) {
    return this.data.expected ? this.data.expected[item] : [];
  }

  choice(item, index) {
    const choices = this.data.choices[item];
    if (index === null) return "no answer";
    // whether it is one of the expected answers is said by right and wrong
    if (this.expected(item).length > 0) return "";
    if (choices.length === 0) return `answer ${index}`;
    if (this.data.prompts[item].length > 1) return index === 0 ? "the first" : "the second";
    return quoted(choices[index].trim());
  }

  answer(model, item) {
    const { predicted, margins, texts } = this.data;
    const right = this.right(model, item);
    const line = make("dd");
    if (right !== null) line.append(make("span", right ? "✓ right" : "✗ wrong", right ? "yes" : "no"));
    const chosen = this.choice(item, predicted[model][item]);
    if (chosen) line.append(make("span", chosen));
    const margin = margins[model][item];
    if (margin !== null) {
      const sign = margin < 0 ? "−" : "+";
      line.append(make("span", `margin ${sign}${Math.abs(margin).toFixed(2)} nats`, "margin-text"));
    }
    const text = texts ? texts[model][item] : null;
    if (text !== null) {
      const quote = make("blockquote", text || "(nothing)");
      quote.dir = "auto";
      line.append(quote);
    }
    return line;
  }

  /* The largest finding, once the section is open: before, nothing is unpacked. */
  begin() {
    if (this.started || !this.root.closest("details").open) return;
    const { benchmark, arm } = this.root.dataset;
    if (this.blocks.has(benchmark)) this.controls.benchmark.value = benchmark;
    this.open({ a: arm, state: "differ" });
  }

  /* #items=BENCHMARK/A/B, to which the verdicts link. */
  async follow(hash) {
    const [benchmark, a, b] = hash.slice("#items=".length).split("/").map(decodeURIComponent);
    if (!this.blocks.has(benchmark)) return;
    this.controls.benchmark.value = benchmark;
    this.controls.search.value = "";
    await this.open({ a, b, state: "differ" });
    unfold(this.root);
    this.root.closest(".content").scrollIntoView();
    this.controls.a.focus({ preventScroll: true });
  }
}

document.querySelectorAll(".scroll table").forEach(makeSortable);
document.querySelectorAll(".scroll").forEach(markEdges);
explainTerms();
window.addEventListener("hashchange", unfoldTarget);
unfoldTarget();
const root = document.getElementById("item-browser");
if (root) {
  const view = new ItemBrowser(root);
  const go = () => (location.hash.startsWith("#items=") ? view.follow(location.hash) : null);
  window.addEventListener("hashchange", go);
  root.closest("details").addEventListener("toggle", () => view.begin());
  if (!go()) view.begin();
}
