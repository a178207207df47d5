// The image behind each cell of the arena: a table of tiles, and one of them in full.
import { element, paintImage, percent, SIDE } from "../playground/pictures.js";
import { paintSigned } from "../playground/synthesis/board.js";

const NORMS = { linf: "L∞", l2: "L2", l0: "L0" };
const MOVES = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
const at = (id) => document.getElementById(id);

async function loaded(name) {
  const image = new Image();
  image.src = name;
  await image.decode();
  return image;
}

/** The ink of each tile, 784 numbers in [0, 1]. */
function reader(sheet, columns) {
  const canvas = new OffscreenCanvas(sheet.width, sheet.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(sheet, 0, 0);
  return (tile) => {
    const [x, y] = [(tile % columns) * SIDE, Math.floor(tile / columns) * SIDE];
    const { data } = context.getImageData(x, y, SIDE, SIDE);
    return Float32Array.from({ length: SIDE ** 2 }, (_, pixel) => 1 - data[4 * pixel] / 255);
  };
}

const DIGITS = { linf: 3, l2: 2, l0: 0 };
const size = (cell, norm) => cell[norm].toFixed(DIGITS[norm]);
const within = (cell, budgets) => cell.success && cell[cell.norm] <= budgets[cell.norm] * 1.00001;

function begin({ columns, label, image, cells, titles, budgets, same, known, command, device, date },
  sheet) {
  const tile = reader(sheet, columns);
  const clean = tile(0);
  const rows = [...new Set(cells.map((cell) => cell.defense))];
  const key = ({ attack, norm }) => `${attack} ${norm}`;
  const heads = Object.keys(NORMS).flatMap((norm) =>
    [...new Set(cells.filter((cell) => cell.norm === norm).map(key))]);
  const places = new Map(cells.map((cell, index) => [`${cell.defense} ${key(cell)}`, index]));
  const place = (row, column) => places.get(`${rows[row]} ${heads[column]}`);
  const named = (head) => head.replace(/ (\w+)$/, (_, norm) => `, ${NORMS[norm]}`);
  const buttons = rows.map(() => []);
  let chosen = null;

  function table() {
    const first = (column) => column > 0 &&
      heads[column].split(" ")[1] !== heads[column - 1].split(" ")[1] ? { class: "first" } : {};
    const head = element("tr", {}, element("th", { scope: "col" }, "defense"), ...heads.map(
      (name, column) => element("th", { scope: "col", ...first(column) },
        element("span", {}, named(name)))));
    const body = rows.map((name, row) => element("tr", {},
      element("th", { scope: "row" }, titles[name]), ...heads.map((_, column) => {
        const index = place(row, column);
        const box = element("td", first(column));
        if (index === undefined) {
          box.append("–");
          return box;
        }
        const cell = cells[index];
        const button = element("button", { type: "button", tabindex: "-1", "aria-pressed": "false",
          "aria-label": `${titles[name]}, ${named(heads[column])}: ${verdict(cell)}` });
        const [x, y] = [((index + 1) % columns) * SIDE, Math.floor((index + 1) / columns) * SIDE];
        button.style.backgroundImage = "url(images.png)";
        button.style.backgroundPosition = `${1 - x}px ${1 - y}px`;
        if (cell.success) button.className = within(cell, budgets) ? "within" : "beyond";
        button.addEventListener("click", () => choose(row, column));
        buttons[row][column] = button;
        box.append(button);
        return box;
      })));
    at("cells").append(element("thead", {}, head), element("tbody", {}, ...body));
  }

  /** What the defense makes of a cell's image, in words. */
  function verdict(cell) {
    if (!cell.clean) return "misclassified or refused before any attack";
    if (cell.refused) return "refused";
    if (cell.reads === label) return `reads ${cell.reads} ✓`;
    return `reads ${cell.reads} ✗${within(cell, budgets) ? "" : ", beyond the budget"}`;
  }

  function choose(row, column) {
    const index = place(row, column);
    if (index === undefined) return false;
    if (chosen) {
      chosen.setAttribute("aria-pressed", "false");
      chosen.tabIndex = -1;
    }
    chosen = buttons[row][column];
    chosen.setAttribute("aria-pressed", "true");
    chosen.tabIndex = 0;
    const cell = cells[index];
    const found = tile(index + 1);
    [at("defense").value, at("attack").value] = [rows[row], heads[column]];
    at("cell-title").textContent = `${titles[cell.defense]} against ${named(heads[column])}`;
    paintImage(at("attacked"), found);
    paintSigned(at("change"), found.map((pixel, i) => pixel - clean[i]));
    at("attacked").setAttribute("aria-label", `The ${label} after the attack`);
    at("change").setAttribute("aria-label", "What the attack has changed");
    const sizes = Object.entries(NORMS).map(([norm, name]) => `${name} ${size(cell, norm)}`);
    const kept = cell.accuracy === null ? "" :
      ` On the arena's digits this attack leaves an accuracy of ${percent(cell.accuracy, 0)}.`;
    at("said").textContent = `${verdict(cell)[0].toUpperCase()}${verdict(cell).slice(1)}. ` +
      `The change: ${sizes.join(", ")}. It took ${cell.queries.toLocaleString("en")} queries and ` +
      `${cell.gradients.toLocaleString("en")} gradients.${kept}`;
    history.replaceState(null, "", `#${cell.defense}/${cell.attack}/${cell.norm}`);
    return true;
  }

  table();
  for (const name of rows) at("defense").add(new Option(titles[name], name));
  for (const name of heads) at("attack").add(new Option(named(name), name));
  at("cell").addEventListener("change", () => {
    const [row, column] = [at("defense").selectedIndex, at("attack").selectedIndex];
    if (!choose(row, column)) at("said").textContent = "This cell was not measured.";
  });
  at("cells").addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    const row = buttons.findIndex((line) => line.includes(document.activeElement));
    if (!move || row < 0) return;
    event.preventDefault();
    let [y, x] = [row, buttons[row].indexOf(document.activeElement)];
    do [y, x] = [y + move[0], x + move[1]];
    while (buttons[y] && x >= 0 && x < heads.length && !buttons[y][x]);
    if (!buttons[y]?.[x]) return;
    choose(y, x);
    buttons[y][x].focus();
  });
  paintImage(at("clean"), clean);
  at("clean").setAttribute("aria-label", `The ${label}, before any attack`);
  at("provenance").replaceChildren(
    `Test digit ${image} of MNIST, with 256 levels. Of ${known} cells that the arena has stored, ` +
    `${same} have the same outcome here. Recorded by `, element("code", {}, command),
    ` on ${device}, ${date}.`);
  const [defense, attack, norm] = decodeURIComponent(location.hash.slice(1)).split("/");
  const [row, column] = [rows.indexOf(defense), heads.indexOf(`${attack} ${norm}`)];
  if (row < 0 || column < 0 || !choose(row, column)) choose(0, heads.indexOf("pgd linf"));
  document.body.dataset.state = "done";
}

const answer = await fetch("images.json");
if (answer.ok) begin(await answer.json(), await loaded("images.png"));
else at("said").textContent = "This site was built without the arena's images.";
