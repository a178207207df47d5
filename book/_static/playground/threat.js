// What the attacker of the settings shown knows, wants and may do, as the course's tables state it.
import { element } from "./pictures.js";

/** Fills the body of a table with rows { name: text }. */
export function stated(body, rows) {
  body.replaceChildren(...Object.entries(rows).map(([name, text]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text))));
}

/** The threat model of the attack on a digit. */
export function stateThreat(body, { attack, epsilon, steps, target, knows }) {
  const gradients = attack === "fgsm" ? 1 : steps;
  const goal = attack === "targeted" ? `that the network reads a ${target}` : "any wrong class";
  const means = attack === "fgsm"
    ? "one step of length ε along the sign of the gradient"
    : `a random start in the ball, then ${steps} steps of 2.5 ε / ${steps} along the sign of the ` +
      "gradient, each put back into the ball and the box";
  const purifier = knows
    ? "the purifier's too: its row is attacked with the gradient through purifier and classifier"
    : "except the purifier's: its row is attacked with the undefended network's gradient";
  stated(body, {
    Knows: `all networks and their weights, ${purifier}`,
    Wants: goal,
    "May change": `each pixel by at most ε = ${epsilon} (L∞), within [0, 1]`,
    Does: means,
    "May ask": `${gradients} gradient${gradients === 1 ? "" : "s"} an image`,
    "Measured on": "the one digit shown",
  });
}
