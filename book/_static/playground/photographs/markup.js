// The panel's elements: a module, so that the page is as light as without them.
export const MARKUP = `
  <form id="photo-controls" class="controls">
    <fieldset>
      <legend>Photograph</legend>
      <div id="photo-gallery" class="gallery" role="radiogroup"
        aria-label="Sample photographs"></div>
      <p class="buttons">
        <label class="file">Your own picture <input type="file" id="photo-file"
          accept="image/*"></label>
        <button type="button" id="photo-camera" aria-expanded="false"
          aria-controls="photo-shot">Camera</button>
      </p>
      <div id="photo-shot" class="shot" hidden>
        <video id="photo-video" muted playsinline aria-label="What the camera sees"></video>
        <p class="buttons"><button type="button" id="photo-take">Take the picture</button></p>
      </div>
    </fieldset>
    <fieldset>
      <legend>Attack</legend>
      <div class="choices">
        <label><input type="radio" name="photo-attack" value="fgsm"> FGSM</label>
        <label><input type="radio" name="photo-attack" value="pgd" checked> PGD</label>
        <label><input type="radio" name="photo-attack" value="patch"> Patch</label>
      </div>
      <div class="choices">
        <label><input type="radio" name="photo-goal" value="any" checked>
          Any wrong class</label>
        <label><input type="radio" name="photo-goal" value="one"> One class</label>
        <label id="photo-target-choice" hidden><span class="unseen">Which class</span>
          <select id="photo-target"></select></label>
      </div>
      <label class="slider" for="photo-epsilon"><span>Budget ε</span>
        <input type="range" id="photo-epsilon" min="0" max="32" step="1" value="2">
        <output id="photo-epsilon-value" for="photo-epsilon"></output></label>
      <label class="slider" for="photo-size" hidden><span>Side</span>
        <input type="range" id="photo-size" min="16" max="128" step="8" value="72">
        <output id="photo-size-value" for="photo-size"></output></label>
      <label class="slider" for="photo-steps"><span>Steps</span>
        <input type="range" id="photo-steps" min="1" max="40" step="1" value="5">
        <output id="photo-steps-value" for="photo-steps"></output></label>
      <p id="photo-patch-buttons" class="buttons" hidden><button type="button"
        id="photo-on">Train the patch further, where it is</button></p>
    </fieldset>
  </form>
  <p id="photo-said" class="said"></p>
  <div class="found">
    <figure class="one"><canvas id="photo-before" role="img"></canvas>
      <figcaption>before</figcaption></figure>
    <table class="bars classes one"><caption>Confidence before</caption><tbody
      id="photo-before-bars"></tbody></table>
    <figure class="two"><canvas id="photo-after" role="img"></canvas>
      <figcaption id="photo-after-caption">attacked</figcaption></figure>
    <table class="bars classes two"><caption>Confidence after the attack</caption><tbody
      id="photo-after-bars"></tbody></table>
    <figure class="three"><canvas id="photo-change" role="img"></canvas>
      <figcaption id="photo-change-caption"></figcaption></figure>
    <p id="photo-help" class="note three"></p>
  </div>
  <table class="threat" aria-label="Threat model of the attack on the photograph"><tbody
    id="photo-threat"></tbody></table>
  <p id="photo-facts" class="note"></p>
`;
