"""The families of published weights. To add one: a file here, a line below, a reference network in the tests."""

from keras_actrec.porting.families.c3d import C3D, C3D_SEQUENTIAL
from keras_actrec.porting.families.huggingface_timesformer import HUGGINGFACE_TIMESFORMER
from keras_actrec.porting.families.huggingface_videomae import HUGGINGFACE_VIDEOMAE
from keras_actrec.porting.families.huggingface_vivit import HUGGINGFACE_VIVIT
from keras_actrec.porting.families.i3d_inception import I3D_INCEPTION
from keras_actrec.porting.families.i3res import I3RES
from keras_actrec.porting.families.pytorchvideo import PYTORCHVIDEO_I3D, PYTORCHVIDEO_SLOW
from keras_actrec.porting.families.torchvision import TORCHVISION_R2PLUS1D, TORCHVISION_R3D

FAMILIES = (
    C3D,
    C3D_SEQUENTIAL,
    HUGGINGFACE_TIMESFORMER,
    HUGGINGFACE_VIDEOMAE,
    HUGGINGFACE_VIVIT,
    I3D_INCEPTION,
    I3RES,
    PYTORCHVIDEO_I3D,
    PYTORCHVIDEO_SLOW,
    TORCHVISION_R2PLUS1D,
    TORCHVISION_R3D,
)
