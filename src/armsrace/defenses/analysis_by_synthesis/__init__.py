"""Analysis by synthesis (ABS): the class is the one whose generative model explains the image best.

Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural network
model on MNIST". Each class has a generator G_c of its own. It explains an image x by the latents z
that minimize

    ‖x − G_c(z)‖₂² + ‖z‖₂² / 2,

and the class with the least such cost wins. In the order in which to read:

* `inference`: this cost, the samples of the prior where a search for z begins, and the paper's
  search by gradient descent (Adam).
* `levenberg_marquardt`: exact inference, a search that ends in an optimum.
* `model`: the classifier, its logits and its confidences.
* `binary`: Binary ABS, for black and white images.
* `free_radius`, `certificate`, `check_certificate`: with linear decoders the distance is exact, and
  its proof is checked by a program that uses nothing of ours.
* `bounds`: how far an image can be perturbed before the decision may change, in L2 and L∞.
"""
