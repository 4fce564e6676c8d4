"""The drawings of `docs/how`: boxes and arrows as SVG, `python docs/drawings/draw.py` writes them anew."""

from __future__ import annotations

from html import escape
from pathlib import Path

HERE = Path(__file__).parent
COLOURS = {"memory": "#dbe7f3", "kernel": "#fce8c8", "plain": "#ffffff", "zero": "#f1f1f1"}
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="14" '
    'role="img"><title>{title}</title><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#444"/></marker></defs>'
    '<rect width="100%" height="100%" fill="#fff"/>'
)


class Drawing:
    """Shapes in one picture."""

    def __init__(self, title: str, width: int, height: int) -> None:
        self.parts = [HEAD.format(title=escape(title), width=width, height=height)]

    def box(self, x: float, y: float, w: float, h: float, text: str = "", kind: str = "plain") -> None:
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4" fill="{COLOURS[kind]}" stroke="#444"/>'
        )
        lines = text.split("\n") if text else []
        for number, line in enumerate(lines):
            self.text(x + w / 2, y + h / 2 + 5 + 18 * (number - (len(lines) - 1) / 2), line, "middle")

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>')

    def arrow(self, x: float, y: float, to_x: float, to_y: float, dashed: bool = False) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#444" marker-end="url(#tip)"{dash}/>'
        )

    def save(self, name: str) -> None:
        (HERE / f"{name}.svg").write_text("\n".join((*self.parts, "</svg>")) + "\n", encoding="utf-8")


def conv_norm_act() -> None:
    drawing = Drawing("A unit reads each pixel once and writes each pixel once", 760, 290)
    drawing.box(20, 70, 120, 50, "x, in memory\nread once", "memory")
    drawing.box(190, 30, 370, 180, "", "kernel")
    drawing.text(200, 50, "one kernel, a tile at a time in cache")
    drawing.box(205, 70, 150, 50, "norm, activation\nborder")
    drawing.box(395, 70, 150, 50, "convolution\n(sums in registers)")
    drawing.box(395, 145, 150, 50, "+ bias, + shift\n+ residual, · scale")
    drawing.box(610, 145, 130, 50, "y, in memory\nwritten once", "memory")
    drawing.box(20, 145, 120, 50, "residual\nread once", "memory")
    drawing.box(395, 230, 150, 40, "y's mean, variance", "memory")
    drawing.arrow(140, 95, 205, 95)
    drawing.arrow(355, 95, 395, 95)
    drawing.arrow(470, 120, 470, 145)
    drawing.arrow(140, 170, 395, 170)
    drawing.arrow(545, 170, 610, 170)
    drawing.arrow(470, 195, 470, 230)
    drawing.arrow(545, 250, 740, 250, dashed=True)
    drawing.text(555, 270, "what the next unit's norm needs")
    drawing.save("conv_norm_act")


def winograd() -> None:
    drawing = Drawing("Winograd F(4x4, 3x3): 36 products for a tile of 16 outputs", 760, 300)
    for row in range(6):
        for column in range(6):
            inside = 1 <= row <= 4 and 1 <= column <= 4
            drawing.box(20 + 24 * column, 60 + 24 * row, 24, 24, "", "memory" if inside else "zero")
            drawing.box(290 + 24 * column, 60 + 24 * row, 24, 24, "·", "kernel")
    for row in range(4):
        for column in range(4):
            drawing.box(590 + 24 * column, 84 + 24 * row, 24, 24, "", "memory")
    drawing.arrow(170, 132, 284, 132)
    drawing.arrow(440, 132, 584, 132)
    drawing.text(227, 120, "Bᵀ d B", "middle")
    drawing.text(512, 120, "Aᵀ m A", "middle")
    drawing.text(92, 40, "6×6 pixels", "middle")
    drawing.text(362, 40, "36 points: one product each", "middle")
    drawing.text(638, 40, "4×4 outputs", "middle")
    drawing.text(290, 235, "weights: G g Gᵀ, once, kept packed")
    drawing.text(
        20,
        270,
        "Neighbouring tiles overlap by two pixels. By the definition: 16 outputs · 9 taps = 144 products.",
    )
    drawing.save("winograd")


def tangent_pass() -> None:
    drawing = Drawing("A gradient penalty by one pass of tangents", 760, 300)
    for number, (y, name, note) in enumerate(
        (
            (30, "1  forward", "D(x), each layer's input kept"),
            (90, "2  data backward", "g = ∇ₓD, norm ‖g‖, direction u = g/‖g‖, held fixed"),
            (150, "3  tangents forward", "the derivative of D along u: the same kernels, x̣ = u"),
            (210, "4  weights' gradients", "of φ'(‖g‖)·(∂D/∂u): one product a layer"),
        )
    ):
        drawing.box(20, y, 200, 40, name, "kernel" if number == 2 else "plain")
        drawing.text(310, y + 25, note)
        if number % 2 == 0:
            drawing.arrow(225, y + 20, 300, y + 20)
        else:
            drawing.arrow(300, y + 20, 225, y + 20)
    drawing.text(
        20,
        285,
        "No second-order graph. A curved activation or a norm of the data adds the primal's adjoint: two more.",
    )
    drawing.save("tangent_pass")


def sampler_row() -> None:
    drawing = Drawing("A row of a sampler's table, and the step that runs it", 760, 310)
    for number, name in enumerate(("x", "model output", "without condition", "stored outputs", "seed")):
        drawing.box(20, 20 + 52 * number, 150, 40, name, "memory")
        drawing.arrow(170, 40 + 52 * number, 235, 40 + 52 * number)
    drawing.box(235, 20, 320, 248, "", "kernel")
    drawing.text(245, 42, "one pass, each element once")
    drawing.box(250, 60, 290, 34, "m = guidance of the two outputs")
    drawing.box(250, 104, 290, 34, "x0 = x0_x·x + x0_m·m, then clip")
    drawing.box(250, 148, 290, 34, "y = Σ coefficient·term + noise")
    drawing.box(250, 192, 290, 34, "s = Σ coefficient·term (to be stored)")
    drawing.box(610, 110, 130, 40, "y: the next x", "memory")
    drawing.box(610, 190, 130, 40, "a history slot", "memory")
    drawing.arrow(555, 130, 610, 130)
    drawing.arrow(555, 210, 610, 210)
    drawing.text(20, 298, "A coefficient that is 0 is a tensor that is not read.")
    drawing.save("sampler_row")


if __name__ == "__main__":
    for draw in (conv_norm_act, winograd, tangent_pass, sampler_row):
        draw()
