"""The autoencoder (Hinton and Salakhutdinov 2006): pictures through a narrow code, and back.

Loss:      E ‖x − decoder(encoder(x))‖² a pixel
Samples:   what the decoder makes of normal latents. Nothing makes the codes normal: beside a VAE's, they show why it
           has its second term
Step:      one update of both networks
"""

from __future__ import annotations

from genfuse.systems.vae import VAE, Autoencoder
from genfuse.train import Step


class PlainAutoencoder(VAE):
    """See the module; of a VAE's settings ``beta`` and ``deviation`` are without effect."""

    name = "autoencoder"

    def build(self) -> None:
        self.autoencoder = Autoencoder(self.config, self.image_shape, self.config.latents)

    def step(self, now: Step) -> None:
        images, _ = now.batch()
        decoded = self.autoencoder.decoder(self.autoencoder.encoder(images))
        now.minimise("autoencoder", (images - decoded).square().mean())
