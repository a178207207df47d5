// What the attacker of a photograph knows, wants and may do, as the course's tables state it.
import { stated } from "../threat.js";

/** Fills the body of a table. */
export function stateThreat(body, { attack, levels, steps, size, target }, names) {
  const ball = `each channel of each pixel by at most ε = ${levels}/255 (L∞), within [0, 1]`;
  const square = `all pixels of a square of ${size} × ${size}, to anything within [0, 1]`;
  const means = {
    fgsm: "one step of length ε along the sign of the gradient",
    pgd: `a random start in the ball, then ${steps} steps of 2.5 ε / ${steps} along the sign of ` +
      "the gradient, each put back into the ball and the box",
    patch: `${steps} signed steps of 1.25 / ${steps} from gray, at one place`,
  };
  stated(body, {
    Knows: "the network and its weights",
    Wants: target === null ? "any wrong class" : `the class ${names[target]}`,
    "May change": attack === "patch" ? square : ball,
    Does: means[attack],
    "May ask": `${steps} gradient${steps === 1 ? "" : "s"} an image`,
    "Measured on": "the one picture shown",
  });
}
