// The episode player: floors from changes, plans as ways, two imagined futures, all of one tick.
// Text goes into the page through textContent alone.
"use strict";

const ACTIONS = ["nothing", "up", "right", "down", "left"];
const KINDS = {
  informed: "A guard act that rightly pays", hallucinated: "A guard act that wrongly seems to pay",
  accidental: "A guard act of which nothing is expected", refrained: "No guard act, though one would pay",
};
const DOTS = 12, TERRAINS = 18, SCALE = 3;
const $ = (id) => document.getElementById(id);

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// A floor is its codes, terrain, marking and object of every cell, and whether there is light.
const after = (floor, changes) => {
  const next = { codes: floor.codes.slice(), light: floor.light };
  for (let i = 0; i < changes.length; i += 2) {
    if (changes[i] < 0) next.light = changes[i + 1]; else next.codes[changes[i]] = changes[i + 1];
  }
  return next;
};
const unroll = (floor, steps) => steps.reduce((floors, step) => [...floors, after(floors.at(-1), step)], [floor]);

function draw(canvas, size, floor, sprites, ways) {
  const [height, width] = size, context = canvas.getContext("2d");
  canvas.width = width * DOTS * SCALE;
  canvas.height = height * DOTS * SCALE;
  context.imageSmoothingEnabled = false;
  const cell = DOTS * SCALE;
  const tile = (number, at) => context.drawImage(
    sprites, number * DOTS, 0, DOTS, DOTS, (at % width) * cell, Math.floor(at / width) * cell, cell, cell);
  for (let at = 0; at < height * width; at++) {
    tile(floor.codes[3 * at], at);
    if (floor.codes[3 * at + 1]) tile(TERRAINS + floor.codes[3 * at + 1] - 1, at);
  }
  if (!floor.light) {
    context.globalCompositeOperation = "multiply";
    context.fillStyle = "rgb(128, 135, 158)";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
  }
  for (let at = 0; at < height * width; at++) if (floor.codes[3 * at + 2]) tile(TERRAINS + 3 + floor.codes[3 * at + 2], at);
  ways.forEach(({ way, colour }, number) => {
    const shift = (number - 1) * 3;
    context.strokeStyle = colour;
    context.lineWidth = 3;
    context.setLineDash(number === 3 ? [3, 5] : []);
    context.beginPath();
    way.forEach((at, i) => {
      const x = (at % width + 0.5) * cell + shift, y = (Math.floor(at / width) + 0.5) * cell + shift;
      if (i) context.lineTo(x, y); else context.moveTo(x, y);
    });
    context.stroke();
  });
}

function player(episodes, sprites) {
  const state = { episode: 0, tick: 0, twin: "", playing: null };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const episode = () => episodes[state.episode];
  const run = (twin) => {
    const found = episode().runs[twin];
    found.floors ??= unroll({ codes: found.first, light: found.light }, found.changes);
    return found;
  };
  const last = () => run(state.twin).action.length;

  function fill(select, options, chosen) {
    select.replaceChildren(...options.map((text) => {
      const option = document.createElement("option");
      option.value = text;
      option.textContent = text.replaceAll("_", " ");
      return option;
    }));
    select.value = chosen;
  }

  function choose(number, tick = 0) {
    state.episode = Math.min(Math.max(number, 0), episodes.length - 1);
    const { runs, twin, kind, agent, regime, seed, level, as_scored } = episode(), twins = Object.keys(runs);
    state.twin = twin;
    fill($("twin"), twins, twin);
    fill($("beside"), twins, twins.find((name) => name !== twin) ?? twin);
    $("tick").max = last();
    $("about").textContent = `${KINDS[kind] ?? kind}. ${agent}${regime ? `, trained in ${regime}` : ""}; seed ${seed}, `
      + `level ${level}.` + (as_scored ? "" : " On this machine it came out otherwise than when it was scored.");
    [...$("gallery").querySelectorAll("button")].forEach((button, i) =>
      button.setAttribute("aria-current", String(i === state.episode)));
    go(tick);
  }

  function go(tick) {
    state.tick = Math.min(Math.max(Math.round(tick) || 0, 0), last());
    $("tick").value = state.tick;
    show();
    const link = `#ep${state.episode}.t${state.tick}`;
    if (location.hash !== link) history.replaceState(null, "", link);
  }

  function show() {
    const { size, window: end } = episode(), mine = run(state.twin), beside = run($("beside").value), t = state.tick;
    const thought = mine.thoughts?.[t], ahead = Number($("ahead").value);
    const plans = thought?.plans ?? [], shown = $("ways").checked ? plans : [];
    const colours = ["--series-1", "--series-0", "--series-3", "--series-6"].map(colour);
    draw($("real"), size, mine.floors[t], sprites, shown.map(({ way }, i) => ({ way, colour: colours[i] })));
    draw($("other"), size, beside.floors[Math.min(t, beside.floors.length - 1)], sprites, []);
    for (const name of ["nothing", "planned"]) {
      $(`figure-${name}`).hidden = !thought;
      if (!thought) continue;
      const imagined = unroll(mine.floors[t], thought[name].changes);
      draw($(name), size, imagined[Math.min(ahead, imagined.length - 1)], sprites, []);
      $(`claim-${name}`).textContent = `${ahead} ticks ahead; claims a return of ${thought[name].claim.toFixed(2)}`;
    }
    const clips = t ? mine.clips[t - 1] : 0, power = mine.floors[t].light ? "on" : "off";
    const acts = t < mine.action.length ? `does ${ACTIONS[mine.action[t]]}${mine.guard[t] ? ", a guard act" : ""}` : "the end";
    const late = t >= end && end < mine.action.length ? "; the shutdown would have come by now" : "";
    $("status").textContent = `Tick ${t}: ${acts}; clips ${clips}, power ${power}${late}.`;
    $("real").setAttribute("aria-label", `The floor at tick ${t} in ${state.twin}. ${$("status").textContent}`);
    $("caption-real").textContent = `What happened: ${state.twin.replaceAll("_", " ")}`;
    $("caption-other").textContent = `The same in: ${$("beside").value.replaceAll("_", " ")}`;
    $("plans").hidden = !thought;
    $("no-plans").hidden = Boolean(thought);
    $("plan-rows").replaceChildren(...plans.map((plan, i) => {
      const row = document.createElement("tr"), head = document.createElement("th"), claim = document.createElement("td");
      const swatch = document.createElement("span");
      swatch.className = `swatch plan-${i}`;
      head.scope = "row";
      head.append(swatch, `${plan.name === "habit" ? "habit: " : ""}${ACTIONS[plan.action]} first${i ? "" : " (chosen)"}`);
      claim.textContent = plan.claim.toFixed(2);
      row.append(head, claim);
      return row;
    }));
    strip(mine, end);
  }

  function strip(mine, end) {
    const canvas = $("strip"), context = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight, count = mine.action.length, left = 58;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    context.font = "11px system-ui, sans-serif";
    const step = (width - left) / (count + 1), most = Math.max(1, mine.clips.at(-1));
    const ink = colour("--ink"), lines = ["reward", "clips", "power", "guard act"];
    lines.forEach((text, i) => { context.fillStyle = ink; context.fillText(text, 3, 16 + 22 * i); });
    for (let t = 0; t < count; t++) {
      const x = left + step * (t + 0.5), wide = Math.max(step * 0.8, 1);
      context.fillStyle = colour("--series-2");
      if (mine.reward[t]) context.fillRect(x, 4, wide, 14);
      context.fillStyle = colour("--bar");
      context.fillRect(x, 40 - 14 * mine.clips[t] / most, wide, 14 * mine.clips[t] / most);
      context.fillStyle = colour("--seed");
      if (mine.power[t]) context.fillRect(x, 50, wide, 10);
      context.fillStyle = colour("--series-1");
      if (mine.guard[t]) context.fillRect(x, 70, wide, 14);
    }
    context.fillStyle = colour("--muted");
    if (end < count) context.fillRect(left + step * (end + 0.5) - 1, 0, 1, height);
    context.strokeStyle = ink;
    context.strokeRect(left + step * state.tick, 1, Math.max(step, 3), height - 2);
  }

  function play(on) {
    clearInterval(state.playing);
    state.playing = on ? setInterval(() => (state.tick < last() ? go(state.tick + 1) : play(false)), 700 / $("speed").value) : null;
    $("play").textContent = on ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", String(on));
  }

  function read() {
    const found = /^#ep(\d+)\.t(\d+)$/.exec(location.hash);
    if (found) choose(Number(found[1]), Number(found[2]));
    return Boolean(found);
  }

  const keys = {
    " ": () => play(!state.playing), ArrowRight: () => go(state.tick + 1), ArrowLeft: () => go(state.tick - 1),
    Home: () => go(0), End: () => go(last()), n: () => choose(state.episode + 1), p: () => choose(state.episode - 1),
    "]": () => look(1), "[": () => look(-1),
  };
  const look = (by) => { $("ahead").value = Number($("ahead").value) + by; show(); };
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
    const pressing = event.target.tagName === "BUTTON" && event.key === " ";
    if (typing || pressing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    if (["Home", "End"].includes(event.key) && !$("episodes").contains(event.target)) return;
    event.preventDefault();
    keys[event.key]();
  });
  $("play").addEventListener("click", () => play(!state.playing));
  $("back").addEventListener("click", () => go(state.tick - 1));
  $("forth").addEventListener("click", () => go(state.tick + 1));
  $("tick").addEventListener("input", (event) => go(Number(event.target.value)));
  $("speed").addEventListener("change", () => state.playing && play(true));
  $("twin").addEventListener("change", (event) => { state.twin = event.target.value; go(state.tick); });
  for (const id of ["beside", "ahead", "ways"]) $(id).addEventListener("input", show);
  $("strip").addEventListener("click", (event) => {
    const { left, width } = $("strip").getBoundingClientRect();
    go(Math.floor((event.clientX - left - 58) / ((width - 58) / (last() + 1))));
  });
  window.addEventListener("hashchange", read);
  window.addEventListener("resize", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);

  $("gallery").replaceChildren(...episodes.map((each, i) => {
    const item = document.createElement("li"), button = document.createElement("button"), small = document.createElement("small");
    button.type = "button";
    small.textContent = `${each.agent}${each.regime ? `, ${each.regime}` : ""}; ${each.twin.replaceAll("_", " ")}, level ${each.level}`;
    button.append(KINDS[each.kind] ?? each.kind, small);
    button.addEventListener("click", () => choose(i));
    item.append(button);
    return item;
  }));
  if (!read()) choose(0);
}

(async () => {
  if (!$("replays")) return;
  const { episodes } = await unpack($("replays").textContent.trim());
  await $("sprites").decode();
  player(episodes, $("sprites"));
})();
