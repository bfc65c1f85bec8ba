"""The options of `alexnet train`, in sections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet.cli.options import DATA_HELP
from model.network.spec import ActivationFunction

IMAGES, RECIPE, NETWORK, TUNING, MACHINE, FOLDERS = (
    "Images",
    "Recipe (default: the recipe's value)",
    "Network (default: the recipe's value)",
    "Fine-tuning",
    "Machine",
    "Folders",
)

TrainingDataOption = Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP)]
NameOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the artifact (default: the name of the data).", show_default=False),
]
TrainingSeedOption = Annotated[
    int,
    typer.Option(
        min=0,
        max=2**64 - 1,
        metavar="N",
        help="Random seed for initialization, split, shuffling, crops and dropout.",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Resume the run in this folder, with its options; --epochs or --minutes extends it.",
        show_default=False,
    ),
]
FinishOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Publish the run in this folder as it is, without more training.",
        show_default=False,
    ),
]
DetailOption = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=256,
        metavar="N",
        help="First reduce each image to N pixels on its shorter side, then enlarge it to 256, so that large and "
        "small originals look alike (default: as in --init-from, or 256, no reduction).",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
ColorProfilesOption = Annotated[
    bool | None,
    typer.Option(
        "--color-profiles/--ignore-color-profiles",
        help="Convert images with embedded color profiles to sRGB (default: as in --init-from, or convert).",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
TrainingSplitOption = Annotated[
    Literal["own", "half", "neighborhood"],
    typer.Option(
        "--split",
        help="How images are split. own: as the data says, else 75 % training, 10 % validation, 15 % test; half: half "
        "of each class for testing, as in section 6; neighborhood: images with neighboring names stay together.",
        rich_help_panel=IMAGES,
    ),
]
SplitFromOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Folder of an earlier run, or its split.csv: images of that run stay in their split (train, validation or "
        "test); only new images are assigned.",
        show_default=False,
        rich_help_panel=IMAGES,
    ),
]
DropNearDuplicatesOption = Annotated[
    bool,
    typer.Option(
        "--drop-near-duplicates",
        help="Leave out training images that resemble validation or test images, and validation images that resemble "
        "test images.",
        rich_help_panel=IMAGES,
    ),
]
RecipeOption = Annotated[
    Literal["auto", "small", "fine-tune", "paper", "source", "photos"],
    typer.Option(
        help="auto: fine-tune if the run starts from a network, else small, for a few thousand images; paper: as "
        "published; source: as in the authors' code; photos: for photographs from several sources.",
        rich_help_panel=RECIPE,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Maximum number of epochs; the learning rate schedule is fitted to it. 0: only fit a new output layer to "
        "the network of --init-from.",
        rich_help_panel=RECIPE,
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        min=0.01, metavar="X", help="Minutes of training and validation, instead of --epochs.", rich_help_panel=RECIPE
    ),
]
ScheduleOption = Annotated[
    Literal["plateau", "cosine"] | None,
    typer.Option(
        help="Learning rate schedule. plateau: falls to a tenth whenever the validation error stops falling, as in the "
        "paper; cosine: falls along half a cosine to a thousandth at the end of the run.",
        rich_help_panel=RECIPE,
    ),
]
WarmupOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.5,
        metavar="X",
        help="Fraction of the run in which the learning rate rises from 0.",
        rich_help_panel=RECIPE,
    ),
]
FindRateOption = Annotated[
    bool,
    typer.Option("--find-rate", help="Choose the learning rate with a short range test.", rich_help_panel=RECIPE),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Images per step over all processes; the learning rate scales linearly with it.",
        rich_help_panel=RECIPE,
    ),
]
LearningRateOption = Annotated[
    float | None, typer.Option(min=0, metavar="X", help="Initial learning rate.", rich_help_panel=RECIPE)
]
WeightDecayOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="X", help="Weight decay (L2 penalty) per step.", rich_help_panel=RECIPE),
]
PatienceOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Epochs without improvement before the learning rate drops (schedule plateau).",
        rich_help_panel=RECIPE,
    ),
]
PcaColorStdOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="X",
        help="Standard deviation of the color shift along the principal components (section 4.1); 0: none.",
        rich_help_panel=RECIPE,
    ),
]
MirrorOption = Annotated[
    bool | None, typer.Option("--mirror/--no-mirror", help="Mirror half of the crops.", rich_help_panel=RECIPE)
]
RandomCropOption = Annotated[
    bool | None,
    typer.Option(
        "--random-crop/--no-random-crop", help="Train on random crops, or on center crops.", rich_help_panel=RECIPE
    ),
]
AugmentOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Augmentations instead of the recipe's, comma-separated: boxes, degradation, jitter, mixup, cutmix; "
        "or none.",
        rich_help_panel=RECIPE,
    ),
]
ClassWeightsOption = Annotated[
    bool | None,
    typer.Option(
        "--class-weights/--no-class-weights",
        help="Weight the loss so that small classes count as much as large ones.",
        rich_help_panel=RECIPE,
    ),
]
LabelSmoothingOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.5,
        metavar="X",
        help="Fraction of each target that is spread evenly over all classes.",
        rich_help_panel=RECIPE,
    ),
]
NetworkOption = Annotated[
    Literal["alexnet", "alexnet-one-tower", "alexnet-six-conv"] | None,
    typer.Option(
        help="alexnet: two towers; alexnet-one-tower: the half-size network of footnote 2; alexnet-six-conv: with "
        "a sixth convolution (section 6).",
        rich_help_panel=NETWORK,
    ),
]
HiddenOption = Annotated[
    int | None, typer.Option(min=2, metavar="N", help="Neurons in each of fc6 and fc7; even.", rich_help_panel=NETWORK)
]
DropoutOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=0.99, metavar="X", help="Dropout probability in fc6 and fc7; 0: none.", rich_help_panel=NETWORK
    ),
]
ActivationOption = Annotated[
    ActivationFunction | None, typer.Option(help="Activation function.", rich_help_panel=NETWORK)
]
PoolSizeOption = Annotated[
    int | None,
    typer.Option(
        min=2,
        max=3,
        metavar="N",
        help="Size of the pooling windows (stride 2): with 3 they overlap (section 3.4), with 2 they don't.",
        rich_help_panel=NETWORK,
    ),
]
NormalizationOption = Annotated[
    Literal["paper", "source", "none"] | None,
    typer.Option(
        help="Local response normalization after conv1 and conv2: as published, as in the authors' code, or none.",
        rich_help_panel=NETWORK,
    ),
]
Conv3CrossTowerOption = Annotated[
    bool | None,
    typer.Option(
        "--conv3-cross-tower/--no-conv3-cross-tower",
        help="Connect conv3 to both towers, or only to its own.",
        rich_help_panel=NETWORK,
    ),
]
OmitLayerOption = Annotated[
    Literal["conv2", "conv3", "conv4", "conv5", "fc7"] | None,
    typer.Option(help="Leave one layer out (section 7).", rich_help_panel=NETWORK),
]
InitFromOption = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="Artifact to start from, whose layers are copied where they fit; photos: the bundled network; none: "
        "random weights; auto: photos for fewer than 20,000 training images (default recipe and network only), or with "
        "--recipe fine-tune or --epochs 0, else none.",
        rich_help_panel=TUNING,
    ),
]
FitOutputOption = Annotated[
    bool,
    typer.Option(
        "--fit-output/--no-fit-output",
        help="Fit a new output layer to the copied layers' features before training, or start it from random weights.",
        rich_help_panel=TUNING,
    ),
]
LrMultipliersOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Learning rate multipliers by layer or group (copied, new, conv, fc): copied=0.3,conv1=0.01 (default: "
        "0.1 for copied layers). To train all layers at the full rate: --epochs 15 --lr-multipliers copied=1.",
        rich_help_panel=TUNING,
    ),
]
FrozenOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST", help="Layers that are not trained, comma-separated: conv1,conv2.", rich_help_panel=TUNING
    ),
]
TrainingDeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(
        envvar="ALEXNET_DEVICE",
        help="Device to train on; auto uses a GPU if one is usable. With cpu, the network is also measured there.",
        rich_help_panel=MACHINE,
    ),
]
ProcessesPerNetworkOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=2,
        metavar="N",
        help="2: one tower per process (section 3.2); start the processes with torchrun.",
        rich_help_panel=MACHINE,
    ),
]
MicroBatchOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Maximum images per forward pass, to save memory; gradients are accumulated over the batch. 0: no "
        "maximum.",
        rich_help_panel=MACHINE,
    ),
]
TrainingPrecisionOption = Annotated[
    Literal["auto", "float32", "bfloat16", "float64"],
    typer.Option(
        help="Numeric precision of training; auto: bfloat16 where the machine is fast at it, else float32.",
        rich_help_panel=MACHINE,
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        min=0, max=1024, metavar="N", help="CPU threads; 0: chosen by a short trial.", rich_help_panel=MACHINE
    ),
]
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Use torch.compile on a GPU; the first step takes longer.", rich_help_panel=MACHINE),
]
DeviceCacheOption = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option(
        help="Keep the decoded images in GPU memory, and crop them there; auto: if they fit.",
        rich_help_panel=MACHINE,
    ),
]
SaveStepsOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Write a checkpoint every N steps within an epoch, in addition to the one every ten minutes; 0: only the "
        "latter.",
        rich_help_panel=MACHINE,
    ),
]
KeepCheckpointOption = Annotated[
    bool,
    typer.Option(
        "--keep-checkpoint",
        help="Keep the checkpoint of a finished run (435 MB), to extend the run later.",
        rich_help_panel=MACHINE,
    ),
]
PublishOption = Annotated[
    Literal["last", "best"],
    typer.Option(
        help="Weights to publish: of the last epoch, or of the one with the lowest validation error.",
        rich_help_panel=MACHINE,
    ),
]
CacheFormatOption = Annotated[
    Literal["raw", "jpeg"],
    typer.Option(
        help="Format of the decoded images on disk: raw takes 196,608 bytes per image, jpeg about 17,000.",
        rich_help_panel=MACHINE,
    ),
]
MeasuredCropsOption = Annotated[
    Literal["1", "10"],
    typer.Option(
        help="Measure on the held-out images with the center crop only (1), or with ten crops, too (10).",
        rich_help_panel=MACHINE,
    ),
]
ArtifactsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where the artifact is published (default: artifacts below --home).",
        rich_help_panel=FOLDERS,
    ),
]
RunsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of logs, checkpoints and reports (default: runs below --home).",
        rich_help_panel=FOLDERS,
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of decoded images (default: cache below --home).",
        rich_help_panel=FOLDERS,
    ),
]
