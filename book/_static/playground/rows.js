// One row a defense: its pictures, what it says in words, ten bars, and a curve.
import { newCurve } from "./curve.js";
import { read } from "./network.js";
import { element, paintImage, paintPerturbation, percent } from "./pictures.js";

const TITLES = {
  undefended: ["Undefended", "s3-cnn"],
  trained: ["Adversarially trained", "manifold-robust"],
  purified: ["Purified", "magnet-1"],
};

/** What the cards say of a row's networks. */
function facts(name, networks) {
  const own = networks[TITLES[name][1]];
  const plain = networks["s3-cnn"];
  if (name === "purified") {
    return `MagNet's reformer, an autoencoder of ${own.parameters} parameters, redraws the image ` +
      "for the undefended network.";
  }
  const accuracy = `Classifies ${percent(own.test_accuracy, 2)} of ` +
    `${own.test_images.toLocaleString("en")} test digits correctly.`;
  const about = own === plain ? "A plain convolutional network." : "The same, " +
    own.about.replace(/^.*?, /, "") + ".";
  return `${about} ${accuracy}`;
}

function picture(caption, box) {
  const options = { role: "img", width: 28, height: 28, "aria-label": `${caption}, not drawn yet` };
  const canvas = element("canvas", options);
  box.append(element("figure", {}, canvas, element("figcaption", {}, caption)));
  return canvas;
}

function newBars(title) {
  const body = element("tbody");
  const bars = Array.from({ length: 10 }, (_, digit) => {
    const fill = element("span");
    const share = element("td", { class: "share" });
    const row = element("tr", {}, element("th", { scope: "row" }, String(digit)),
      element("td", { class: "bar" }, fill), share);
    body.append(row);
    return { row, fill, share };
  });
  const caption = element("caption", { class: "unseen" }, `${title}: confidence in each class`);
  return { table: element("table", { class: "bars" }, caption, body), bars };
}

/** An empty row: {section, show(result, settings), curve, title, told}. */
export function newRow(name, networks) {
  const title = TITLES[name][0];
  const said = element("p", { class: "said" });
  const time = element("p");
  const pictures = element("div", { class: "pictures" });
  const adversarial = picture("attacked", pictures);
  const perturbation = picture("perturbation", pictures);
  const purified = name === "purified" ? picture("after the purifier", pictures) : null;
  const { table, bars } = newBars(title);
  const curve = newCurve(title);
  const heading = element("h2", { id: `${name}-title` }, title);
  const section = element("section", { class: "row", "aria-labelledby": heading.id, id: name },
    element("div", { class: "about" }, heading, element("p", {}, facts(name, networks)), said,
      time),
    pictures, table, element("figure", { class: "confidence" }, curve.svg,
      element("figcaption", {}, "confidence in the true class")));

  function show(result, { image, epsilon, attack, target }) {
    const { adversarial: found, purified: redrawn, shares, label, milliseconds } = result;
    const answer = read(shares);
    paintImage(adversarial, found);
    paintPerturbation(perturbation, found, image, epsilon);
    adversarial.setAttribute("aria-label", `The ${label} after the attack on: ${title}`);
    perturbation.setAttribute("aria-label", `Its perturbation, between −${epsilon} and ${epsilon}`);
    if (purified) {
      paintImage(purified, redrawn);
      purified.setAttribute("aria-label", "What the purifier makes of it");
    }
    bars.forEach(({ row, fill, share }, digit) => {
      fill.style.width = percent(shares[digit], 2).replace(" ", "");
      share.textContent = percent(shares[digit]);
      row.className = digit === label ? "true" : digit === answer ? "wrong" : "";
    });
    const right = answer === label;
    const [kind, sign] = right ? ["right", "✓"] : ["wrong", "✗"];
    const verdict = element("strong", { class: kind }, `${answer} ${sign}`);
    const wanted = attack === "targeted" ? `, the attacker wanted a ${target}` : "";
    const truth = ` with ${percent(shares[answer])}; it is a ${label}${wanted}.`;
    said.replaceChildren("Reads ", verdict, truth);
    time.textContent = `Attacked in ${milliseconds.toFixed(0)} ms in your browser.`;
    curve.mark(epsilon);
    return `${title}: reads ${answer}, ${kind}`;
  }
  return { section, show, curve };
}
