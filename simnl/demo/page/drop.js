// Dropping files and folders, and dragging a picture from one class to another.

const PICTURE = "application/x-picture";

export function start(dropped, moved, elsewhere) {
  const zoneOf = (event) => event.target.closest?.("[data-drop]");
  const mark = (zone) => {
    document.querySelectorAll(".over").forEach((other) => other !== zone && other.classList.remove("over"));
    zone?.classList.add("over");
  };
  document.addEventListener("dragstart", (event) => {
    const picture = event.target.closest?.("[data-picture]");
    if (picture) event.dataTransfer.setData(PICTURE, picture.dataset.picture);
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // else the browser would leave the page and show the file
    mark(zoneOf(event));
  });
  document.addEventListener("dragleave", (event) => !event.relatedTarget && mark(null));
  document.addEventListener("dragend", () => mark(null));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    const zone = zoneOf(event);
    mark(null);
    const number = event.dataTransfer.getData(PICTURE);
    const files = number ? [] : await filesOf(event.dataTransfer);
    if (number && zone) moved(Number(number), Number(zone.dataset.drop));
    else if (files.length) (zone ? dropped : elsewhere)(files, zone && Number(zone.dataset.drop));
  });
}

async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before any await
  const files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return files;
  return (await Promise.all(entries.map(below))).flat();
}

async function below(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) return [await new Promise((found, failed) => entry.file(found, failed))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((some, failed) => reader.readEntries(some, failed)); // a hundred at most
    if (!part.length) break;
    found.push(...part);
  }
  found.sort((one, other) => one.name.localeCompare(other.name));
  return (await Promise.all(found.map(below))).flat();
}
