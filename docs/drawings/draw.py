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


def attention() -> None:
    drawing = Drawing("Attention: a block of queries meets the keys a block at a time", 760, 310)
    drawing.box(20, 70, 80, 70, "queries\nof a head", "memory")
    for number in range(4):
        drawing.box(130 + 80 * number, 20, 76, 30, "128 keys", "memory")
        drawing.box(130 + 80 * number, 70, 76, 70, "", "kernel" if number == 3 else "zero")
        drawing.box(130 + 80 * number, 160, 76, 30, "values", "memory")
    drawing.text(408, 100, "scores,", "middle")
    drawing.text(408, 118, "weights", "middle")
    drawing.arrow(100, 105, 130, 105)
    drawing.arrow(408, 50, 408, 70)
    drawing.arrow(408, 140, 408, 160)
    drawing.arrow(446, 105, 500, 105)
    drawing.arrow(446, 175, 500, 175)
    drawing.box(500, 50, 240, 150, "", "kernel")
    drawing.text(510, 72, "kept of each query")
    drawing.box(515, 85, 210, 30, "m: the largest score so far")
    drawing.box(515, 120, 210, 30, "l: Σ 2^(score − m)")
    drawing.box(515, 155, 210, 30, "o: Σ 2^(score − m)·value")
    drawing.arrow(620, 200, 620, 230)
    drawing.box(545, 230, 150, 40, "o / l, written once", "memory")
    drawing.text(20, 235, "Where m grows, l and o are multiplied by 2^(old m − m).")
    drawing.text(20, 257, "Grey: scores that were. No row of them is ever whole, and none")
    drawing.text(20, 275, "is in memory.")
    drawing.save("attention")


def linear() -> None:
    drawing = Drawing("A linear layer is a 1x1 convolution whose pixels are the rows", 760, 300)
    for row in range(6):
        drawing.box(20, 50 + 24 * row, 150, 22, "", "memory" if row < 5 else "zero")
        drawing.box(590, 50 + 24 * row, 150, 22, "", "memory" if row < 5 else "zero")
    drawing.text(95, 40, "x: rows of C", "middle")
    drawing.text(665, 40, "out: rows of K", "middle")
    drawing.box(260, 20, 240, 60, "weights: panels of outputs\npacked once, read in order", "memory")
    drawing.box(260, 110, 240, 50, "sums of rows × outputs\nin registers, over C in order", "kernel")
    drawing.box(260, 185, 240, 50, "+ bias, + residual\n· scale, activation", "kernel")
    drawing.arrow(170, 135, 260, 135)
    drawing.text(215, 125, "activated", "middle")
    drawing.arrow(380, 80, 380, 110)
    drawing.arrow(380, 160, 380, 185)
    drawing.arrow(500, 210, 590, 185)
    drawing.text(
        20,
        262,
        "Rows are an image of 48 to 96 pixels where such a number divides them, else of 72; a second image",
    )
    drawing.text(20, 282, "(grey) takes the rest. A row's bits depend on no other row.")
    drawing.save("linear")


def resampling() -> None:
    drawing = Drawing("Upsampling by 2 with four taps: two phases of two taps", 760, 320)
    drawing.text(20, 28, "by the definition: zeros between pixels, then four taps an output")
    for column in range(8):
        name, kind = (f"x{column // 2}", "memory") if column % 2 == 0 else ("0", "zero")
        drawing.box(20 + 44 * column, 40, 44, 30, name, kind)
    for shift, note in enumerate(("even outputs: a and c meet pixels", "odd outputs: b and d meet pixels")):
        for tap, name in enumerate("abcd"):
            kind = "kernel" if (tap + shift) % 2 == 0 else "zero"
            drawing.box(20 + 44 * (tap + shift), 80 + 40 * shift, 44, 30, name, kind)
        drawing.text(400, 100 + 40 * shift, note)
    drawing.text(20, 188, "as it is computed: a phase is a run of neighbouring pixels, without zeros")
    drawing.box(20, 200, 330, 32, "even: a·[x0 x1 x2 …] + c·[x1 x2 x3 …]", "kernel")
    drawing.box(20, 240, 330, 32, "odd: b·[x1 x2 x3 …] + d·[x2 x3 x4 …]", "kernel")
    drawing.arrow(350, 216, 440, 232)
    drawing.arrow(350, 256, 440, 240)
    drawing.box(440, 218, 260, 36, "even, odd, even, odd, …", "memory")
    drawing.text(20, 303, "In two dimensions likewise: up 2 with 4×4 taps has 4 products an output, not 16.")
    drawing.save("resampling")


def spectral_norm() -> None:
    drawing = Drawing("A step of spectral norm reads the weights once", 760, 310)
    drawing.text(20, 28, "W, rows of one output each")
    for row in range(6):
        drawing.box(20, 40 + 30 * row, 230, 28, "", "kernel" if row == 2 else "memory")
    drawing.text(135, 119, "a row, in the nearest cache", "middle")
    drawing.box(320, 40, 190, 34, "v, of the last step", "memory")
    drawing.box(320, 98, 190, 34, "p = row · v, of each row")
    drawing.box(320, 156, 190, 34, "b += p · row: Wᵀ·W·v")
    drawing.arrow(250, 110, 320, 114)
    drawing.arrow(415, 74, 415, 98)
    drawing.arrow(415, 132, 415, 156)
    drawing.arrow(250, 122, 320, 170)
    drawing.box(560, 98, 180, 34, "u = p / ‖p‖", "memory")
    drawing.box(560, 156, 180, 34, "v = b / ‖b‖", "memory")
    drawing.box(560, 214, 180, 34, "sigma = ‖b‖ / ‖p‖", "memory")
    drawing.arrow(510, 115, 560, 115)
    drawing.arrow(510, 173, 560, 173)
    drawing.arrow(510, 184, 560, 226)
    drawing.text(
        20,
        270,
        "uᵀ·W·v with the new u and v is ‖Wᵀ·u‖: no third product. Then W / sigma: the second read, and the write.",
    )
    drawing.text(
        20, 290, "All layers of a network are one call: pieces of them are shared among the threads."
    )
    drawing.save("spectral_norm")


if __name__ == "__main__":
    for draw in (
        conv_norm_act,
        winograd,
        tangent_pass,
        sampler_row,
        attention,
        linear,
        resampling,
        spectral_norm,
    ):
        draw()
