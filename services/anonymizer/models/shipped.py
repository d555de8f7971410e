"""The rows of the models that ship."""

from services.anonymizer.models.rows import Attribute, Detector, Embedder, Estimator, Generator, Inverter

_MOBILE = {"mapping": "mobile-stylegan-mapping", "z_dims": 512, "latent_shape": (512,)}
_PREVIEW = "mobile-stylegan-512"

DETECTORS = {
    d.name: d
    for d in (
        Detector(
            name="centerface",
            first_looks={"int8": "centerface-any-int8", "float32": "centerface-any"},
            smallest_px=12.0,
            look="centerface-192",
            look_px=192,
        ),
    )
}
EMBEDDERS = {
    e.name: e
    for e in (
        Embedder(
            name="dlib-resnet",
            model="dlib-resnet",
            aligner="centerface5-look192-similarity150",
            chip_px=150,
            dims=128,
            same_person=0.5,  # dlib calls 0.6 the same person, but among many people different ones come nearer
        ),
        # These two measure, and never choose a crowd. Their limits let as many different people pass as dlib's 0.5.
        Embedder(
            name="mobileface",
            model="mobileface",
            aligner="centerface5-look192-arcface112",
            chip_px=112,
            dims=256,
            same_person=1.0,
        ),
        Embedder(
            name="faceres",
            model="faceres",
            aligner="centerface5-look192-arcface112",
            chip_px=224,
            dims=1024,
            same_person=0.8,
        ),
    )
}
GENERATORS = {
    g.name: g
    for g in (
        Generator(name=_PREVIEW, model=_PREVIEW, image_size=(512, 512), **_MOBILE),
        Generator(
            name="mobile-stylegan-1024",
            model="mobile-stylegan-1024",
            image_size=(1024, 1024),
            preview=_PREVIEW,
            **_MOBILE,
        ),
    )
}


INVERTERS = {
    i.name: i
    for i in (
        Inverter(
            name="inversion-mobile-stylegan",
            model="inversion-mobile-stylegan",
            embedder="dlib-resnet",
            mapping="mobile-stylegan-mapping",
            w_dims=512,
        ),
    )
}
# These networks are sure of most of what they say, hence the high shares. Their ages are off by years: the groups are
# wide, and "young" is from where teenagers cannot be told from young adults.
ESTIMATORS = {
    e.name: e
    for e in (
        Estimator(
            name="age-gender",
            model="age-gender",
            aligner="centerface5-look192-similarity150",
            chip_px=138,
            attributes={
                "age_group": Attribute(
                    output="age",
                    values={"child": (0, 12), "young": (13, 29), "adult": (30, 59), "senior": (60, 80)},
                    certain=0.9,
                ),
                "gender": Attribute(output="gender", values={"female": (0, 0), "male": (1, 1)}, certain=0.98),
            },
        ),
        Estimator(
            name="emotion",
            model="emotion",
            aligner="centerface5-look192-similarity150",
            chip_px=64,
            attributes={
                "emotion": Attribute(
                    output="emotion",
                    values={
                        "angry": (0, 0),
                        "disgusted": (1, 1),
                        "fearful": (2, 2),
                        "happy": (3, 3),
                        "sad": (4, 4),
                        "surprised": (5, 5),
                        "neutral": (6, 6),
                    },
                    certain=0.7,
                    of="photo",
                )
            },
        ),
    )
}
