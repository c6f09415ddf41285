"""Trained classifiers on the Hugging Face hub: a head file, a model card, and a line of json that the hub needs.

The hub's own `ModelHubMixin` does the work. A separate class derives from it, because it would give the classifier
attributes that scikit-learn does not expect.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import ModelCard, ModelHubMixin
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id
from sklearn.utils.validation import check_is_fitted

from simnl.clip.fetching import check_hub
from simnl.fewshot import head_file
from simnl.fewshot.head_file import FILE
from simnl.fewshot.loaded_head import LoadedHead

CLIENT = "httpx"  # the client that huggingface_hub uses, which raises errors of its own
REFUSED = {
    401: "there is no such repository, or the hub does not accept the token: use `hf auth login`, or give token",
    403: "the token may not write there: it needs the permission to write",
    404: "there is no such repository, or it is private and the token cannot see it",
}


class SharedHead(ModelHubMixin, library_name="simnl", pipeline_tag="image-classification"):
    """The object that the hub's mixin saves, uploads and downloads: a head file and its card.

    Args:
        head: the head to save; None for a downloaded one.
        card: the text of README.md.
        file: the path of a downloaded head.
    """

    def __init__(self, head: LoadedHead | None = None, card: str = "", file: str = ""):
        self.head, self.card, self.file = head, card, file
        about = head.about if head is not None else None
        # config.json, by which the hub counts downloads and its client finds a repository; nothing else reads it.
        self._hub_mixin_config = about and {"method": about.method, "architecture": about.backbone.arch}

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.head is not None:
            head_file.save(save_directory / FILE, self.head.head, self.head.about)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card. Its yaml is parsed, so that a wrong one is not uploaded."""
        return ModelCard(self.card)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, revision: str | None, cache_dir: str | Path | None, force_download: bool,
        local_files_only: bool, token: str | bool | None, **model_kwargs: Any,
    ) -> SharedHead:  # fmt: skip
        return cls(
            file=huggingface_hub.hf_hub_download(
                model_id, FILE, revision=revision, cache_dir=cache_dir, force_download=force_download,
                local_files_only=local_files_only, token=token, library_name="simnl",
            )
        )  # fmt: skip


@contextmanager
def told(repository: str) -> Iterator[None]:
    """Turn an error of the hub's client into one sentence with the repository and what to do.

    Raises:
        ValueError: the hub does not allow the name or the access, or the repository has no head.
        ConnectionError: the hub cannot be reached, or failed.
    """
    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"'{repository}' is neither a folder nor a repository of the hub, OWNER/NAME.") from error
    except LocalTokenNotFoundError as error:
        raise ValueError(f"{repository}: {REFUSED[401]}.") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if isinstance(error, EntryNotFoundError):
            raise ValueError(
                f"The repository {repository} has no file {FILE}, so it holds no head of this program."
            ) from error
        said = REFUSED.get(status, f"the hub answered with status {status}; try again later")
        raise (ValueError if status in REFUSED else ConnectionError)(f"{repository}: {said}.") from error
    except EntryNotFoundError as error:  # because of local_files_only
        raise ValueError(f"{FILE} of {repository} is not on this machine. Leave local_files_only out.") from error
    except Exception as error:
        if not isinstance(error, ConnectionError) and type(error).__module__.partition(".")[0] != CLIENT:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ConnectionError(
            f"{repository}: {reason}. Check the network, or write the files to a folder first (save_pretrained, or "
            "--folder)."
        ) from error


def check_name(repository: str) -> None:
    """Check that the hub allows the name of a repository.

    Raises:
        ValueError: it does not.
    """
    with told(repository):
        validate_repo_id(repository)


def for_others(head: LoadedHead, keep_names: bool) -> LoadedHead:
    """The head without paths and names of training images, which reveal something of the machine and of people."""
    about = head.about
    weights = about.backbone.weights
    known = os.path.basename(weights) if os.path.isabs(weights) or os.path.isfile(weights) else weights
    about = replace(about, backbone=replace(about.backbone, weights=known))
    return replace(head, about=about if keep_names else replace(about, support=()))


def downloaded(repository: str, **options: Any) -> str:
    """Path of the head file of a repository.

    options: revision, token, cache_dir, force_download, local_files_only, as of `ModelHubMixin.from_pretrained`.

    Raises:
        ValueError, ConnectionError: see `told`.
    """
    with told(repository):
        if not options.get("local_files_only"):
            check_hub()  # the hub's client would retry for most of a minute
        return SharedHead.from_pretrained(repository, **options).file


class Shareable:
    """The methods of `FewShotClassifier` for the hub."""

    _fitted: Any
    classes_: Any

    def save_pretrained(
        self, folder: str | Path, *, test: tuple | None = None, license: str = "", keep_names: bool = False
    ) -> None:
        """Write the files that `push_to_hub` would upload to a folder. An existing README.md is kept.

        Args:
            folder: the folder, which is made if it does not exist.
            test: labelled examples (X, y) that the classifier has not seen, for accuracy and calibration in the card.
            license: an identifier of the hub, such as `mit`. Empty: the card leaves it to be filled in.
            keep_names: keep the file names of the training images, which `explain` shows.

        Raises:
            ValueError: not fitted, or as of `save`; OSError: it cannot be written.
        """
        self._shared(str(folder), test, license, keep_names).save_pretrained(folder)

    def push_to_hub(
        self, repo_id: str, *, test: tuple | None = None, license: str = "", keep_names: bool = False,
        private: bool | None = None, token: str | None = None, branch: str | None = None,
        create_pr: bool | None = None, commit_message: str = "Share a few-shot classifier", keep_card: bool = False,
    ) -> str:  # fmt: skip
        """Upload the head and its card to a repository of the hub, which is made if it does not exist.

        Args:
            repo_id: OWNER/NAME.
            test, license, keep_names: as of `save_pretrained`.
            private, token, branch, create_pr, commit_message: as of `ModelHubMixin.push_to_hub`.
            keep_card: True to keep the README.md of the repository.

        Returns:
            The address of the commit.

        Raises:
            ValueError: not fitted, or no access; ConnectionError: the hub cannot be reached.
        """
        shared = self._shared(repo_id, test, license, keep_names)
        return upload(
            shared, repo_id, keep_card, private=private, token=token, branch=branch, create_pr=create_pr,
            commit_message=commit_message,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, token: str | bool | None = None,
        cache_dir: str | Path | None = None, force_download: bool = False, local_files_only: bool = False,
        **parameters: Any,
    ):  # fmt: skip
        """A classifier from a repository of the hub, OWNER/NAME, or from a folder of `save_pretrained`.

        Args:
            name: of the repository, or the folder.
            revision, token, cache_dir, force_download, local_files_only: as of `ModelHubMixin.from_pretrained`.
            parameters: as of `load`: weights, device, cache, ...

        Raises:
            ValueError: no access, no head of this program, or as of `load`; ConnectionError: the hub cannot be reached.
        """
        load: Any = cls
        if os.path.isdir(name) or os.path.isfile(name):
            return load.load(name, **parameters)
        file = downloaded(
            str(name), revision=revision, token=token, cache_dir=cache_dir, force_download=force_download,
            local_files_only=local_files_only,
        )  # fmt: skip
        return load.load(file, **parameters)

    def _shared(self, repository: str, test: tuple | None, license: str, keep_names: bool) -> SharedHead:
        from simnl.classifier.card import Evaluation, model_card  # late: a template engine that few need

        check_is_fitted(self)
        classifier: Any = self
        head = for_others(self._fitted.loaded, keep_names)
        evaluation = None
        if test is not None:
            labels = classifier.indices_of(test[1])
            evaluation = Evaluation.of("labelled examples held out", classifier.predict_proba(test[0]), labels)
        return SharedHead(head, model_card(head.about, repository, evaluation, license))


def upload(shared: SharedHead, repository: str, keep_card: bool, **options: Any) -> str:
    """Upload a head and its card; the address of the commit.

    options: as of `ModelHubMixin.push_to_hub`.

    Raises:
        ValueError, ConnectionError: see `told`.
    """
    with told(repository):
        check_hub()
        return str(shared.push_to_hub(repository, ignore_patterns="README.md" if keep_card else None, **options))
