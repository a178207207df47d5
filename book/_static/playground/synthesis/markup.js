// The panel's parts, apart from the ten drawings.
export const MARKUP = `
  <div class="play">
    <figure>
      <canvas id="board" tabindex="0" role="application" aria-label="The digit, to flip pixels of"
        aria-describedby="board-help"></canvas>
      <figcaption id="board-count"></figcaption>
    </figure>
    <div class="play-said">
      <p id="board-help">Click a pixel, or tap it, to flip it: a light one becomes ink, a dark one
        white. Click it again to take that back. By keyboard: the arrows move, Space flips.</p>
      <p class="buttons">
        <button type="button" id="suggest">Suggest a pixel</button>
        <button type="button" id="undo">Undo</button>
        <button type="button" id="reset">Reset</button>
      </p>
      <table class="verdicts"><caption class="unseen">What the two classifiers read</caption>
        <thead><tr><th scope="col">classifier</th><th scope="col">reads</th>
          <th scope="col">fewest pixels</th></tr></thead>
        <tbody>
          <tr><th scope="row">Undefended network</th><td id="network-reads"></td>
            <td id="network-record">–</td></tr>
          <tr><th scope="row">Analysis by synthesis</th><td id="synthesis-reads"></td>
            <td id="synthesis-record">–</td></tr>
        </tbody></table>
      <p id="play-status" class="status" role="status" aria-live="polite"></p>
    </div>
    <figure>
      <canvas id="normal" role="img"></canvas>
      <figcaption id="normal-caption"></figcaption>
    </figure>
  </div>
  <h3 id="drawings-title">Ten drawings, ten costs</h3>
  <p class="note">The cost of a drawing is its squared distance from the image, plus half the squared
    length of its latents. Choose a rival: the picture above shows where ink (+) and white (−) help
    it. If both drawings were held, the rival would win as soon as the change δ is in its
    <em>half-space</em>. Its distance is the shortest such change, in L2; the bar shows how much of
    the way your flips have gone. Since every class draws again after each flip, this is a
    forecast, not a bound: a <a href="../../chapters/21_synthesis_bounds.html">bound</a> takes the
    least distance over all drawings.</p>
  <div id="drawings" class="drawings" role="radiogroup" aria-labelledby="drawings-title"></div>
`;
