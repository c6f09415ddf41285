// The method, its prompts, and a head file in the place of the classes.

import { download, send } from "./api.js";
import { by, count, h, setText, setValue } from "./dom.js";
import { addFiles, attempt, openHead } from "./talk.js";

const DEFAULTS = "Learns on stored features";

export function start() {
  by("method").addEventListener("change", () => attempt(() => send("settings", { method: by("method").value })));
  for (const name of ["templates", "negative"]) {
    const field = by(name);
    field.addEventListener("change", async () => {
      const wish = () => send("settings", { [name]: field.value.split("\n") });
      field.setAttribute("aria-invalid", String(!(await attempt(wish, by(`${name}-wrong`)))));
    });
  }
  by("open-head").addEventListener("change", (event) => {
    if (event.target.files.length) openHead(event.target.files[0]);
    event.target.value = "";
  });
  by("save-head").addEventListener("click", () =>
    attempt(async () => {
      const address = URL.createObjectURL(await download("head"));
      const link = h("a", { href: address, download: "head.safetensors" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
    }),
  );
  by("try-files").addEventListener("change", (event) => {
    addFiles([...event.target.files], 0);
    event.target.value = "";
  });
}

export function show({ content, labels, current }) {
  showMethods(content);
  by("save-head").disabled = !current;
  by("taught").hidden = content.head !== null;
  by("teach-hint").hidden = content.head !== null;
  by("head-panel").hidden = content.head === null;
  if (content.head !== null) showHead(content.head, current ? labels.fit : null);
}

function showMethods({ methods, settings, model }) {
  const select = by("method");
  select.disabled = methods.length === 0;
  if (select.length !== methods.length) {
    const kinds = [...new Set(methods.map((one) => one.kind))].sort((one) => (one === DEFAULTS ? -1 : 0));
    const group = (kind) => h("optgroup", { label: kind }, ...methods.filter((one) => one.kind === kind).map(option));
    select.replaceChildren(...kinds.map(group));
  }
  setValue(select, settings.method);
  const method = methods.find((one) => one.name === settings.method);
  setText(by("method-now"), `${method?.title ?? settings.method}${model ? ` on ${model.backbone}` : ""}`);
  setText(by("method-hint"), method ? `${method.kind}.` : "");
  for (const [name, reads] of [["templates", method?.prompts], ["negative", method?.negative]]) {
    if (by(name).getAttribute("aria-invalid") !== "true") setValue(by(name), settings[name].join("\n"));
    by(`${name}-field`).hidden = method !== undefined && !reads;
  }
}

const option = (one) => h("option", { value: one.name }, one.title);

function showHead(name, fit) {
  const panel = by("head-panel");
  const key = `${name} ${fit?.number}`;
  if (panel.dataset.key === key) return;
  panel.dataset.key = key;
  const back = h("button.button", { type: "button", onclick: () => putAway(false) }, "Back to my classes");
  const take = h("button.button", { type: "button", onclick: () => putAway(true) }, "Teach these classes anew");
  const about = fit
    ? `${fit.method} on ${fit.backbone}, ${count(fit.classes.length, "class", "classes")}` +
      (fit.shots ? `, ${count(fit.shots, "picture")} per class at most.` : ".")
    : "It is not loaded.";
  panel.replaceChildren(
    h("h3", {}, name),
    h("p", {}, about),
    h("ul.chips", {}, ...(fit?.classes ?? []).slice(0, 60).map((one) => h("li", { dir: "auto" }, one))),
    h("p.faint", {}, "A head labels and explains. It holds no pictures, so it cannot be taught further: to teach the same classes, give each new pictures."),
    h("p.row", {}, back, fit ? take : null),
  );
}

const putAway = (take) => attempt(() => send("head/away", { take }));
