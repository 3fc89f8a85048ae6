"""The public sets that are known by name: where they come from, their licence and checksums.

Checksums are of the decompressed content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PublicFile:
    """One file of a set."""

    name: str
    sha256: str  # of the decompressed content
    size: int  # bytes to download


@dataclass(frozen=True)
class PublicFolder:
    """A folder of many files that belong to a set."""

    name: str
    sha256: str  # of what `LC_ALL=C sha256sum *` prints in it


@dataclass(frozen=True)
class PublicSet:
    """A corpus that others publish."""

    name: str
    what: str
    licence: str
    languages: tuple[str, ...]  # of its sentence pairs, the first one in the first column; none: no translations
    splits: Mapping[str, str]  # our name of a split to the beginning of its file names
    files: tuple[PublicFile, ...]
    address: str | None  # folder on the web that holds the files; None: only from a local copy
    ending: str | None = None  # of the one file of each split: tsv, txt or npz; None: one file a language
    folder: PublicFolder | None = None  # pictures
    holdout: float = 0.0  # running text without a dev split: the share that is used as one

    @property
    def columns(self) -> int:
        """Texts of an example, at most."""
        return {"txt": 1, "npz": 0}.get(self.ending or "", 2)

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)


MULTI30K = PublicSet(
    name="multi30k",
    what="descriptions of photographs, English with German and French translations, raw text (Elliott et al. 2016, task 1)",
    licence="for research and education, not for commercial use",
    languages=("en", "de", "fr"),
    splits={"train": "train", "dev": "val", "test": "test_2016_flickr"},
    files=(
        PublicFile("train.en.gz", "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6", 568929),
        PublicFile("train.de.gz", "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72", 637044),
        PublicFile("train.fr.gz", "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d", 604242),
        PublicFile("val.en.gz", "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227", 21650),
        PublicFile("val.de.gz", "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660", 24681),
        PublicFile("val.fr.gz", "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc", 23001),
        PublicFile("test_2016_flickr.en.gz", "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182", 21077),
        PublicFile("test_2016_flickr.de.gz", "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16", 22890),
        PublicFile("test_2016_flickr.fr.gz", "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6", 22310),
    ),
    address="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw",
)

# manythings.org/anki replaces its export of Tatoeba from time to time and keeps none of the old ones, so that the one of 2019,
# shuffled and split so that no English sentence is in both parts, exists as local copies only.
TATOEBA = PublicSet(
    name="tatoeba-fra-eng",
    what="short everyday sentences, French and English (Tatoeba, export of 2019)",
    licence="CC-BY 2.0 FR, attribution: tatoeba.org",
    languages=("fr", "en"),
    splits={"train": "train", "dev": "dev"},
    files=(
        PublicFile("train.tsv.gz", "a36e5d9c74c51eab2b02fd3bbdd4c5207e28d7cbbd264dd0b61e7297d50aea8b", 4382737),
        PublicFile("dev.tsv.gz", "095e08a04dad8b7393848c3fa3bdea8dd130821ab82a3c3dbb38d932ed40bb6a", 36560),
    ),
    address=None,
    ending="tsv",
)

TINYSHAKESPEARE = PublicSet(
    name="tinyshakespeare",
    what="running text, a million characters of Shakespeare's plays; the last tenth is the dev split",
    licence="the text is in the public domain",
    languages=(),
    splits={"train": "input"},
    files=(PublicFile("input.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1115394),),
    address="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",
    ending="txt",
    holdout=0.1,
)

SST2 = PublicSet(
    name="sst2",
    what="English sentences of film reviews, tokenised, in lower case; 1 positive, 0 negative (Socher et al. 2013)",
    licence="none stated",
    languages=(),
    splits={"train": "train", "dev": "dev", "test": "test"},
    files=(
        PublicFile("train.tsv", "80fbef10d2784e09d49791d34d2e208fc2e427f365ef655dc7f4913af75bfad2", 738844),
        PublicFile("dev.tsv", "ba0a30932ed2f63fae9f33b8804e55f611ca2a2c280d4f06994bf0b1da716115", 94400),
        PublicFile("test.tsv", "ada4edf5ff85819738cc419c43177a5a04a96647250d903e4707c420b5419c8d", 193562),
    ),
    address=None,
    ending="tsv",
)

SST5 = PublicSet(
    name="sst5",
    what="the sentences of sst2 and neutral ones, in five degrees from 0 (very negative) to 4 (Socher et al. 2013)",
    licence="none stated",
    languages=(),
    splits={"train": "train", "dev": "dev", "test": "test"},
    files=(
        PublicFile("train.tsv", "8b45b28f0239fe6fc24c0eeaf83716540361fd9b48089842be8f964d5d08ec87", 902818),
        PublicFile("dev.tsv", "1362249ef976ba675ec9f4e385a4519b6c5b0dd87f28acea3d1044fd5b128cb5", 117239),
        PublicFile("test.tsv", "c9c0f8fc3eb05deed8fad7e538f198ea0ad45e0ead55f6314d2d89c775200c32", 233634),
    ),
    address=None,
    ending="tsv",
)

MNIST = PublicSet(
    name="mnist",
    what="pictures of handwritten digits, 28 x 28, grey (LeCun et al. 1998), as arrays train_images, train_labels, test_...",
    licence="MIT (of the copy)",
    languages=(),
    splits={"train": "mnist", "test": "mnist"},
    files=(PublicFile("mnist.npz", "39b9b1ffaa0ba4d8995a616551f0966941fe02a3fe79ba4a9db7373db16d53ad", 11490559),),
    address=None,
    ending="npz",
)

FLICKR8K_1K = PublicSet(
    name="flickr8k-1k",
    what="866 small photographs with five English captions each, of Flickr8k (Hodosh et al. 2013)",
    licence="for research only",
    languages=(),
    splits={"train": "train", "dev": "dev"},
    files=(
        PublicFile("train.tsv", "84ef204a59f33e837f9673a243d8cca6d71d07eb261f0760080a9aeaebf4db10", 309984),
        PublicFile("dev.tsv", "006bfc8526e6766482fa39545ff3f7190d7223f3f5ba90541112574d1a33d380", 47785),
    ),
    address=None,
    ending="tsv",
    folder=PublicFolder("images", "f84ae8ee255e6b6e09dfc53e42a2f2ce83a1ec801117c9409b5b6caf6d8fd233"),
)

PUBLIC_SETS: dict[str, PublicSet] = {
    known.name: known for known in (MULTI30K, TATOEBA, TINYSHAKESPEARE, SST2, SST5, MNIST, FLICKR8K_1K)
}
