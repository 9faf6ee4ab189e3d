// The gestures that benchmarks/explorer.py measures; run in the page.
async ({ size, repeats }) => {
  const { map, diagram, points, change, traffic, forget } = window.explorer;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  // What a gesture changes has been drawn when nothing is asked and no plot waits for its frame.
  const plots = () => [map.plot, diagram.plot, points.A.phasePlot, ...points.A.series, points.A.input, points.A.eigenPlot];
  const drawn = async () => {
    do await new Promise((done) => { const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0); });
    while (traffic.open || plots().some((plot) => plot.pending));
  };
  const canvas = map.plot.canvas;
  const event = (type, px, py, more = {}) => {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new PointerEvent(type, { clientX: box.left + px, clientY: box.top + py, pointerId: 1, bubbles: true, ...more }));
  };
  canvas.setPointerCapture = () => {};
  const random = ((state) => () => (state = (state * 16807) % 2147483647) / 2147483647)(7);
  const somewhere = () => { const { left, top, width, height } = map.plot.area; return [left + random() * width, top + random() * height]; };
  const found = {};
  const timed = async (name, count, act, before = () => {}) => {
    found[name] = [];
    for (let i = 0; i < count; i++) {
      await before(i);
      await drawn();
      await pause(20);
      const begin = performance.now();
      await act(i);
      await drawn();
      found[name].push(performance.now() - begin);
    }
  };
  await timed("click: every panel", repeats, async () => { const at = somewhere(); event("pointerdown", ...at); event("pointerup", ...at); });
  change({ replay: false });
  await timed("click, without the replay", repeats, async () => { const at = somewhere(); event("pointerdown", ...at); event("pointerup", ...at); });
  change({ replay: true });
  await timed("click, visited before", repeats, async (i) => change({ index: { ...explorer.view.index, eta: [3, 7][i % 2], J: 5 } }));
  await timed("start in the phase plane", repeats, async () => points.A.addStart({ x: 0.1 + random(), y: random() - 0.5 }), () => change({ starts: [] }));
  change({ starts: [] });
  await timed("slider of a fixed parameter", repeats, async () => change({ changed: { delta: 0.6 + random() } }));
  change({ changed: {} });
  await timed("another variable", Math.min(repeats, 10), async (i) => change({ variable: ["r_final", "r_mean"][i % 2] }));
  await drawn();
  const frames = async (name, count, act) => {
    found[name] = [];
    for (let i = 0; i < count; i++) {
      await frame();
      const begin = performance.now();
      await act(i);
      map.plot.paint();
      canvas.getContext("2d").getImageData(5, 5, 1, 1); // until it is really painted
      found[name].push(performance.now() - begin);
    }
  };
  await frames("frame: hover", repeats * 3, async () => event("pointermove", ...somewhere()));
  await timed("zoom: until sharp", repeats, async (i) => { map.plot.zoom(i % 2 ? 4 : 0.25); map.tilesSoon(); await pause(40); });
  map.plot.zoom(0.5);
  await drawn();
  const [x, y] = map.plot.range.x;
  await frames("frame: pan", repeats * 3, async (i) => {
    const step = (Math.sin(i / 9) * (y - x)) / 8;
    map.plot.range.x = [x + step, y + step];
    map.tilesSoon();
  });
  await frames("frame: wheel", repeats * 3, async (i) => {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new WheelEvent("wheel", { clientX: box.left + 300, clientY: box.top + 300, deltaY: i % 20 < 10 ? 40 : -40, cancelable: true }));
  });
  return found;
}
