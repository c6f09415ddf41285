// The classes that are taught: names, pictures, sentences.

import { send } from "./api.js";
import { by, count, h, keyed, setText, setValue, thumb } from "./dom.js";
import { attempt, addFiles, sure } from "./talk.js";
import { lookAt } from "./look.js";

const FEW = 24; // pictures of a class that are shown until all are asked for
const whole = new Set(); // classes that show all

export function show(content) {
  const list = by("classes");
  const method = content.methods.find((one) => one.name === content.settings.method);
  keyed(list, content.classes, (one) => one.number, make, (card, one) => update(card, one, method));
  list.dataset.empty = String(content.classes.every((one) => one.pictures.length === 0));
}

export async function add() {
  const before = new Set([...by("classes").children].map((card) => card.dataset.key));
  await attempt(() => send("classes"));
  const find = () => [...by("classes").children].find((card) => !before.has(card.dataset.key));
  for (let i = 0; i < 40 && !find(); i++) await new Promise((done) => setTimeout(done, 50));
  find()?.querySelector("input[type=text]").select();
}

function make({ number }) {
  const name = h("input.name", { type: "text", autocomplete: "off", dir: "auto" });
  name.setAttribute("aria-label", "Name of the class");
  name.addEventListener("change", async () => {
    const done = await attempt(() => send(`classes/${number}`, { name: name.value }));
    if (!done) name.value = name.dataset.kept; // a refused name goes back to the one that counts
  });
  name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
  const files = h("input.unseen", { type: "file", accept: "image/*", multiple: true });
  files.addEventListener("change", () => {
    addFiles([...files.files], number);
    files.value = "";
  });
  const sentences = h("textarea", { rows: 3, spellcheck: false, "aria-label": "Sentences about the class, one per line" });
  const wrong = h("p.mistake");
  sentences.addEventListener("change", () =>
    attempt(() => send(`classes/${number}`, { sentences: sentences.value.split("\n") }), wrong),
  );
  return h(
    "li.card.class",
    { "data-drop": number },
    h("div.row", {}, name, h("button.link.remove", { type: "button", onclick: () => remove(number) }, "Remove")),
    h("p.faint.number"),
    h("ul.pictures"),
    h("label.dropzone.small", {}, files, h("span.big", {}, "Add pictures"), h("span.faint", {}, "drop or choose")),
    h("details.about", {}, h("summary", {}, "Sentences about it"), sentences, wrong, h("p.faint.reads")),
  );
}

function update(card, one, method) {
  const find = (query) => card.querySelector(query);
  const name = find(".name");
  name.dataset.kept = one.name;
  setValue(name, one.name);
  card.setAttribute("aria-label", `Class ${one.name}`);
  find(".remove").setAttribute("aria-label", `Remove the class ${one.name}`);
  find("input[type=file]").setAttribute("aria-label", `Add pictures to ${one.name}`);
  setText(find(".number"), one.pictures.length ? count(one.pictures.length, "picture") : "No picture yet");
  setValue(find("textarea"), one.sentences.join("\n"));
  const reads = method && !method.sentences;
  const example = "One per line, such as “a star has five points”.";
  setText(find(".reads"), reads ? `${method.title} does not read such sentences.` : example);
  const all = whole.has(one.number) || one.pictures.length <= FEW;
  const pictures = all ? one.pictures : one.pictures.slice(0, FEW - 1);
  const entries = pictures.map((picture) => ({ key: picture.number, picture }));
  if (!all) entries.push({ key: `more-${one.pictures.length}`, more: one.pictures.length - pictures.length });
  keyed(find(".pictures"), entries, (entry) => entry.key, (entry) => item(entry, one.number));
}

function item({ picture, more }, number) {
  if (!picture) {
    const showAll = (event) => {
      whole.add(number);
      event.currentTarget.closest("li").remove();
      window.dispatchEvent(new Event("redraw"));
    };
    return h("li", {}, h("button.more", { type: "button", onclick: showAll, "aria-label": `Show ${more} more` }, `+${more}`));
  }
  const look = h(
    "button.picture",
    { type: "button", title: picture.name, "data-picture": picture.number, draggable: true, onclick: () => lookAt(picture.number) },
    thumb(picture),
  );
  look.setAttribute("aria-label", `Look at ${picture.name}`);
  return h("li", {}, look);
}

async function remove(number) {
  const card = [...by("classes").children].find((one) => one.dataset.key === String(number));
  const pictures = card.querySelectorAll("[data-picture]").length;
  const name = card.querySelector(".name").dataset.kept;
  const told = card.querySelector(".number").textContent;
  if (pictures && !(await sure(`Remove the class “${name}” with its ${told}?`))) return;
  await attempt(() => send(`classes/${number}`, {}, "DELETE"));
}
