"""The sources of the fifteen data sets.

Addresses, checksums and Google Drive ids are those that their authors, CoOp's DATASETS.md and torchvision give. The
layout is CoOp's.
"""

from __future__ import annotations

from dataclasses import replace

from .sources import Piece, Remote, Source

VGG = "https://www.robots.ox.ac.uk/~vgg/data"
HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks"
# A public copy of CoOp's split files (Lin et al., CVPR 2023), pinned to one commit.
SPLITS_COPY = (
    "https://raw.githubusercontent.com/linzhiqiu/cross_modal_adaptation/c7e7e68ae4eeadfab98e7886b2d6c9cf48a7ceb5/splits"
)
# CuPL sentences (Pratt et al., ICCV 2023) as SuS-X and APE publish them, pinned to one commit each. SimNL's authors
# use the same files, but for stray punctuation in UCF101's.
CUPL_IMAGENET = (
    "https://raw.githubusercontent.com/vishaal27/SuS-X/09106832f3cc43df0d9c51ec1e3829f5eabc0a62/gpt3_prompts"
)
CUPL_OTHERS = (
    "https://raw.githubusercontent.com/yangyangyang127/APE/8cd042c095c4190f7acecb5f59bb2c5d4de24659/gpt3_prompts"
)
CUPL_CHECKSUMS = {  # md5 and bytes, of those at hand
    "caltech101": ("55c9a8840e4ed47d627fbff738d3d343", 314962),
    "dtd": ("640b7035e0945f15e2af92c024147f63", 244279),
    "oxfordpets": ("a46b5717828f860c0d3d15eb3d25177b", 119757),
}
CUPL_NAMES = {  # where the file's name is not the config's
    "fgvc_aircraft": "fgvcaircraft",
    "oxford_flowers": "flowers102",
    "oxford_pets": "oxfordpets",
    "stanford_cars": "stanfordcars",
    **dict.fromkeys(("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"), "imagenet"),
}

CARS_BY_HAND = (
    "The official links of Stanford Cars (ai.stanford.edu/~jkrause) have been dead since 2023. Get the original images "
    "from Kaggle, `kaggle datasets download jessicali9530/stanford-cars-dataset`, and unpack it below {root}/{folder} "
    "or {root}/stanford-cars-dataset (its nested cars_test/cars_test is understood). Copies sorted by class have other "
    "file names and do not fit the split."
)
SUN_BY_HAND = (
    "The official archive of SUN397 (vision.princeton.edu) answers 404, and no copy with a published checksum is "
    "known. If you have SUN397.tar.gz (37 GB, md5 8ca2778205c41d23104230ba66911c7a), put it into {root}/.downloads and "
    "run this again. A copy must have the original paths, {root}/{folder}/SUN397/a/abbey/sun_*.jpg."
)
IMAGENET_BY_HAND = (
    "ImageNet's terms want each user to register, so it is not downloaded. At https://image-net.org/download get "
    "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, put them into "
    "{root}/{folder} and run this again: they are checked, unpacked and sorted into class folders. Folders "
    "{root}/{folder}/images/train/<wnid> and images/val/<wnid>, or Kaggle's ILSVRC/Data/CLS-LOC with "
    "LOC_val_solution.csv, are understood too."
)


def split_file(name: str, drive: str, md5: str = "", size: int = 0, elsewhere: tuple[str, ...] = ()) -> Piece:
    """A small file of CoOp's: the pinned copy, where it has one, then CoOp's own on Google Drive."""
    urls = (f"{SPLITS_COPY}/{name}",) if md5 else ()
    return Piece(name, Remote(name, urls, drive, md5, size), elsewhere=elsewhere)


def cupl_file(name: str) -> Piece:
    """The CuPL sentences of a data set, `gpt3_prompts/CuPL_prompts_<name>.json` below the data root."""
    file = f"CuPL_prompts_{name}.json"
    folder = CUPL_IMAGENET if name == "imagenet" else CUPL_OTHERS
    md5, size = CUPL_CHECKSUMS.get(name, ("", 0))
    return Piece(
        f"gpt3_prompts/{file}",
        Remote(file, (f"{folder}/{file}",), "", md5, size),
        elsewhere=(f"cupl/{file}",),
        above=True,
    )


def _caltech101() -> Source:
    images = "101_ObjectCategories"
    remote = Remote(
        "caltech-101.zip",
        ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
        md5="3138e1922a9193bfa496528edbbc45d0",
        inner="101_ObjectCategories.tar.gz",
    )
    split = split_file(
        "split_zhou_Caltech101.json",
        "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN",
        "385cabeb25ebeebaa36167d7028ebc52",
        809184,
    )
    places = (f"caltech101/{images}", f"caltech-101/caltech-101/{images}", images)
    return Source("caltech101", "caltech-101", (Piece(images, remote, images, places), split))


def _dtd() -> Source:
    url = f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz"
    remote = Remote("dtd-r1.0.1.tar.gz", (url,), md5="fff73e5086ae6bdbea199a49dfb8a4c1")
    split = split_file(
        "split_zhou_DescribableTextures.json",
        "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x",
        "02ff57f1bbd002a43320737a3ecbc113",
        563702,
    )
    return Source("dtd", "dtd", (Piece("images", remote, "dtd/images", ("dtd/dtd/images",)), split))


def _eurosat() -> Source:
    copy = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd"
    urls = (f"{copy}/EuroSAT.zip", "https://madm.dfki.de/files/sentinel/EuroSAT.zip")
    remote = Remote("EuroSAT.zip", urls, md5="c8fa014336c82ac7804f0398fcb19387")
    split = split_file(
        "split_zhou_EuroSAT.json", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o", "989e1eca757dec43cfcee28faf6b28fc", 3006492
    )
    places = ("EuroSAT/2750", "eurosat/EuroSAT_RGB", "EuroSAT_RGB", "eurosat/EuroSAT/2750")
    return Source("eurosat", "eurosat", (Piece("2750", remote, "2750", places), split))


def _fgvc_aircraft() -> Source:
    url = f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"
    remote = Remote("fgvc-aircraft-2013b.tar.gz", (url,))
    names = ("images", "variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test")))
    above = ("fgvc-aircraft-2013b/data", "fgvc_aircraft/fgvc-aircraft-2013b/data", "fgvc_aircraft/data")
    pieces = (Piece(name, remote, f"data/{name}", tuple(f"{folder}/{name}" for folder in above)) for name in names)
    return Source("fgvc_aircraft", "fgvc_aircraft", tuple(pieces))


def _oxford_flowers() -> Source:
    url = f"{VGG}/flowers/102"
    images = Remote("102flowers.tgz", (f"{url}/102flowers.tgz",), md5="52808999861908f626f3c1f4e79d11fa")
    labels = Remote("imagelabels.mat", (f"{url}/imagelabels.mat",), md5="e0620be6f572b9609742df49c70aed4d")
    pieces = (
        Piece("jpg", images, "jpg", ("flowers-102/jpg", "102flowers/jpg")),
        Piece("imagelabels.mat", labels, elsewhere=("flowers-102/imagelabels.mat",)),
        split_file("cat_to_name.json", "1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0", "e9e30ddad249c414268af3d43f0a4222"),
        split_file(
            "split_zhou_OxfordFlowers.json",
            "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT",
            "cfeaf0508c398ca993bf48ca5f034569",
            771139,
        ),
    )
    return Source("oxford_flowers", "oxford_flowers", pieces)


def _food101() -> Source:
    address = "data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
    urls = (f"http://{address}", f"https://{address}")
    remote = Remote("food-101.tar.gz", urls, md5="85eeb15f3717b99a5da872d97d918f87")
    split = split_file("split_zhou_Food101.json", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl")
    places = ("food-101/food-101/images", "food101/images", "food101/food-101/images")
    return Source("food101", "food-101", (Piece("images", remote, "food-101/images", places), split))


def _imagenet() -> Source:
    # Its images are no download: see `imagenet.Builder`.
    return Source("imagenet", "imagenet", (Piece("classnames.txt", generated=True),), IMAGENET_BY_HAND)


def _oxford_pets() -> Source:
    images = Remote("images.tar.gz", (f"{VGG}/pets/data/images.tar.gz",), md5="5c4f3ee8e5d25df40f4fd59a7f44e54c")
    split = split_file(
        "split_zhou_OxfordPets.json", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs", "fadad0caba06c4d0d2baf192015f50b4", 724217
    )
    piece = Piece("images", images, "images", ("oxford-iiit-pet/images",))
    return Source("oxford_pets", "oxford_pets", (piece, split))


def _stanford_cars() -> Source:
    split = split_file(
        "split_zhou_StanfordCars.json",
        "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT",
        "91255fab2e15280e6d9d9d24cc87efdb",
        1855652,
    )
    above = ("stanford-cars-dataset", "stanford_cars/stanford-cars-dataset", "stanford_cars/archive")
    pieces = []
    for name in ("cars_train", "cars_test"):
        nested = [f"{folder}/{name}/{name}" for folder in above]
        flat = [f"{folder}/{name}" for folder in above]
        pieces.append(Piece(name, elsewhere=(*nested, *flat)))
    return Source("stanford_cars", "stanford_cars", (*pieces, split), CARS_BY_HAND)


def _sun397() -> Source:
    # No address: `Remote` is what a copy that the user puts into the download folder is compared with.
    remote = Remote("SUN397.tar.gz", md5="8ca2778205c41d23104230ba66911c7a")
    split = split_file("split_zhou_SUN397.json", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq")
    images = Piece("SUN397", remote, "SUN397", ("SUN397", "sun397/SUN397/SUN397"))
    return Source("sun397", "sun397", (images, split), SUN_BY_HAND)


def _ucf101() -> Source:
    images = "UCF-101-midframes"
    remote = Remote(f"{images}.zip", drive="10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O")
    split = split_file(
        "split_zhou_UCF101.json", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y", "3a70ae2e43036a21111f3692a43fc839", 1557485
    )
    return Source("ucf101", "ucf101", (Piece(images, remote, images, (images, f"UCF101/{images}")), split))


def _variant(name: str, folder: str, target: str, remote: Remote, member: str, elsewhere: tuple[str, ...]) -> Source:
    """A test set of ImageNet: one folder of class folders, and the names of the classes."""
    pieces = (Piece(target, remote, member, elsewhere), Piece("classnames.txt", generated=True))
    return Source(name, folder, pieces)


def _variants() -> tuple[Source, ...]:
    copies = "https://huggingface.co/datasets"
    v2 = "imagenetv2-matched-frequency"
    v2_urls = (
        f"{copies}/vaishaal/ImageNetV2/resolve/main/{v2}.tar.gz",
        f"https://s3-us-west-2.amazonaws.com/imagenetv2public/{v2}.tar.gz",
    )
    sketch_urls = (f"{copies}/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",)
    sketch = Remote("ImageNet-Sketch.zip", sketch_urls, "1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA")
    a_md5, r_md5 = "c3e55429088dc681f30d81f4726b6595", "a61312130a589d0ca1a8fca1f2bd3337"
    a = Remote("imagenet-a.tar", (f"{HENDRYCKS}/imagenet-a.tar",), md5=a_md5, size=687552512)
    r = Remote("imagenet-r.tar", (f"{HENDRYCKS}/imagenet-r.tar",), md5=r_md5)
    v2_folder = f"{v2}-format-val"
    sketches = ("imagenet-sketch/sketch", "sketch", "ImageNet-Sketch/sketch")
    v2_places = (v2_folder, "ImageNetV2-matched-frequency")
    return (
        _variant("imagenetv2", "imagenetv2", v2_folder, Remote(f"{v2}.tar.gz", v2_urls), v2_folder, v2_places),
        _variant("imagenet_sketch", "imagenet-sketch", "images", sketch, "sketch", sketches),
        _variant("imagenet_a", "imagenet-adversarial", "imagenet-a", a, "imagenet-a", ("imagenet-a",)),
        _variant("imagenet_r", "imagenet-rendition", "imagenet-r", r, "imagenet-r", ("imagenet-r",)),
    )


SOURCES: dict[str, Source] = {
    source.name: replace(source, pieces=(*source.pieces, cupl_file(CUPL_NAMES.get(source.name, source.name))))
    for source in (
        _caltech101(),
        _dtd(),
        _eurosat(),
        _fgvc_aircraft(),
        _food101(),
        _imagenet(),
        _oxford_flowers(),
        _oxford_pets(),
        _stanford_cars(),
        _sun397(),
        _ucf101(),
        *_variants(),
    )
}
