"""Coded concepts of the TID 1500 family (PS3.16), by the part that they play."""

from __future__ import annotations

from dicom_ml.codes import Code

__all__: list[str] = []


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _ucum(value: str, meaning: str) -> Code:
    return Code(value, "UCUM", meaning)


# TID 1500, 1204
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
DERIVED_MEASUREMENTS = _dcm("126011", "Derived Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    "SM": _sct("104157003", "Light microscopy"),
}
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")

# TID 1501, 1410, 1411, 1419
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
ACTIVITY_SESSION = Code("C67447", "NCIt", "Activity Session")
TRACKING_IDENTIFIER = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
FINDING_CATEGORY = _sct("276214006", "Finding category")
FINDING_SITE = _sct("363698007", "Finding Site")
LATERALITY = _sct("272741003", "Laterality")
TOPOGRAPHICAL_MODIFIER = _sct("106233006", "Topographical modifier")
METHOD = _sct("370129005", "Measurement Method")
DERIVATION = _dcm("121401", "Derivation")
GEOMETRIC_PURPOSE = _dcm("130400", "Geometric purpose of region")
BOUNDED_BY = _sct("75958009", "Bounded by")
REAL_WORLD_VALUE_MAP = _dcm("126100", "Real World Value Map used for measurement")
SOURCE = _sct("260753009", "Source")
PATH = _dcm("121055", "Path")
PERIMETER = _dcm("121057", "Perimeter Outline")
CENTER = _dcm("111010", "Center")
EQUIVALENT_MEANING = _dcm("121050", "Equivalent Meaning of Concept Name")

# regions
IMAGE_REGION = _dcm("111030", "Image Region")
VOLUME_SURFACE = _dcm("121231", "Volume Surface")
REFERENCED_SEGMENT = _dcm("121191", "Referenced Segment")
REFERENCED_FRAME = _dcm("121214", "Referenced Segmentation Frame")
SOURCE_SERIES = _dcm("121232", "Source series for segmentation")
SOURCE_IMAGE = _dcm("121233", "Source image for segmentation")

# TID 4019
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ALGORITHM_FAMILY = _dcm("111000", "Algorithm Family")

# TID 1502
SUBJECT_TIME_POINT = _dcm("126070", "Subject Time Point Identifier")
PROTOCOL_TIME_POINT = _dcm("126071", "Protocol Time Point Identifier")
TIME_POINT = Code("C2348792", "UMLS", "Time Point")
TIME_POINT_TYPE = _dcm("126072", "Time Point Type")
TIME_POINT_ORDER = _dcm("126073", "Time Point Order")
TEMPORAL_OFFSET = _dcm("128740", "Longitudinal Temporal Offset from Event")
TEMPORAL_EVENT = _dcm("128741", "Longitudinal Temporal Event Type")

# TID 310 to 312
NORMALITY = _dcm("121402", "Normality")
SIGNIFICANCE = _dcm("121403", "Level of Significance")
SELECTION = _dcm("121404", "Selection Status")
POPULATION = _dcm("121405", "Population description")
AUTHORITY = _dcm("121406", "Reference Authority")
RANGE_DESCRIPTION = _dcm("121407", "Normal Range description")
RANGE_AUTHORITY = _dcm("121408", "Normal Range Authority")
RANGE_LOWER = _sct("385524004", "Normal Range Lower Limit")
RANGE_UPPER = _sct("371933006", "Normal Range Upper Limit")
UNCERTAINTY = _sct("371884006", "+/-, range of measurement uncertainty")
UNCERTAINTY_LOWER = _sct("371885007", "-, range of lower measurement uncertainty")
UNCERTAINTY_UPPER = _sct("371886008", "+, range of upper measurement uncertainty")
POPULATION_STATISTICS = frozenset(
    {_dcm("130614", ""), _dcm("130615", ""), _dcm("121414", ""), _dcm("121415", ""), _dcm("121416", "")}
    | {_dcm("121417", ""), _sct("373098007", ""), _sct("373099004", ""), _sct("371890005", "")}
    | {_sct("371919006", ""), _sct("371917008", ""), _sct("371918003", ""), _sct("371920000", "")}
    | {_sct("371888009", "")}
)

# TID 1001 to 1010
OBSERVER_TYPE = _dcm("121005", "Observer Type")
PERSON = _dcm("121006", "Person")
DEVICE = _dcm("121007", "Device")
PERSON_NAME = _dcm("121008", "Person Observer Name")
PERSON_LOGIN = _dcm("128774", "Person Observer's Login Name")
PERSON_ORGANIZATION = _dcm("121009", "Person Observer's Organization Name")
PERSON_ROLE = _dcm("121010", "Person Observer's Role in the Organization")
PERSON_PROCEDURE_ROLE = _dcm("121011", "Person Observer's Role in this Procedure")
DEVICE_UID = _dcm("121012", "Device Observer UID")
DEVICE_NAME = _dcm("121013", "Device Observer Name")
DEVICE_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = _dcm("121015", "Device Observer Model Name")
DEVICE_SERIAL = _dcm("121016", "Device Observer Serial Number")
DEVICE_LOCATION = _dcm("121017", "Device Observer Physical Location during observation")
DEVICE_ROLE = _dcm("113876", "Device Role in Procedure")
SUBJECT_CLASS = _dcm("121024", "Subject Class")
FETUS = _dcm("121026", "Fetus")
SPECIMEN = _dcm("121027", "Specimen")
DEVICE_SUBJECT = _dcm("121192", "Device Subject")
SUBJECT_UID = _dcm("121028", "Subject UID")
SUBJECT_ID = _dcm("121030", "Subject ID")
MOTHER = _dcm("121036", "Mother of fetus")
FETUS_ID = Code("11951-1", "LN", "Fetus ID")
FETUS_COUNT = Code("11878-6", "LN", "Number of Fetuses")
SPECIMEN_UID = _dcm("121039", "Specimen UID")
SPECIMEN_ID = _dcm("121041", "Specimen Identifier")
SPECIMEN_ISSUER = _dcm("111724", "Issuer of Specimen Identifier")
SPECIMEN_TYPE = _sct("371439000", "Specimen type")
SPECIMEN_CONTAINER = _dcm("111700", "Specimen Container Identifier")
SUBJECT_DEVICE_NAME = _dcm("121193", "Device Subject Name")
SUBJECT_DEVICE_UID = _dcm("121198", "Device Subject UID")
SUBJECT_DEVICE_MANUFACTURER = _dcm("121194", "Device Subject Manufacturer")
SUBJECT_DEVICE_MODEL = _dcm("121195", "Device Subject Model Name")
SUBJECT_DEVICE_SERIAL = _dcm("121196", "Device Subject Serial Number")
SUBJECT_DEVICE_LOCATION = _dcm("121197", "Device Subject Physical Location during observation")

# TID 1600 to 1604
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
MODALITY = _dcm("121139", "Modality")
FRAME_OF_REFERENCE_UID = _dcm("112227", "Frame of Reference UID")
PIXEL_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_COLUMNS = _dcm("110911", "Pixel Data Columns")
HORIZONTAL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
SLICE_SPACING = _dcm("112226", "Spacing between slices")
POSITION = tuple(_dcm(f"11090{i + 1}", f"Image Position (Patient) {axis}") for i, axis in enumerate("XYZ"))
ORIENTATION = tuple(
    _dcm(f"11090{i + 4}", f"Image Orientation (Patient) {name}")
    for i, name in enumerate(("Row X", "Row Y", "Row Z", "Column X", "Column Y", "Column Z"))
)
SLICE_THICKNESS = _dcm("112225", "Slice Thickness")
TARGET_REGION = _dcm("123014", "Target Region")
IMAGE_LATERALITY = _dcm("111027", "Image Laterality")
STUDY_DATE = _dcm("111060", "Study Date")
STUDY_TIME = _dcm("111061", "Study Time")
CONTENT_DATE = _dcm("111018", "Content Date")
ACQUISITION_DATE = _dcm("126201", "Acquisition Date")
IMAGE_VIEW = _dcm("111031", "Image View")
IMAGE_VIEW_MODIFIER = _dcm("111032", "Image View Modifier")
ORIENTATION_ROW = _dcm("111044", "Patient Orientation Row")
ORIENTATION_COLUMN = _dcm("111043", "Patient Orientation Column")
PRIMARY_ANGLE = _dcm("112011", "Positioner Primary Angle")
SECONDARY_ANGLE = _dcm("112012", "Positioner Secondary Angle")
CT_ACQUISITION = _dcm("113820", "CT Acquisition Type")
RECONSTRUCTION = _dcm("113961", "Reconstruction Algorithm")
PULSE_SEQUENCE = _dcm("128230", "Pulse Sequence Name")
RADIONUCLIDE = _sct("89457008", "Radionuclide")
AGENT = _sct("417881006", "Radiopharmaceutical agent")
HALF_LIFE = _sct("304283002", "Half-life of radiopharmaceutical")
START = _dcm("123003", "Radiopharmaceutical Start DateTime")
STOP = _dcm("123004", "Radiopharmaceutical Stop DateTime")
AGENT_VOLUME = _dcm("123005", "Radiopharmaceutical Volume")
TOTAL_DOSE = _dcm("123006", "Radionuclide Total Dose")
SPECIFIC_ACTIVITY = _dcm("123007", "Radiopharmaceutical Specific Activity")
ROUTE = _sct("410675002", "Route of administration")

# measured and derived quantities
CERTAINTY = _dcm("111012", "Certainty of Finding")
VOLUME = _sct("118565006", "Volume")
DIAMETER_3D = Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
ATTENUATION = _dcm("112031", "Attenuation Coefficient")
SIGNAL_INTENSITY = _dcm("110852", "MR signal intensity")
MEAN = _sct("373098007", "Mean")
STANDARD_DEVIATION = _sct("386136009", "Standard Deviation")
MINIMUM = _sct("255605001", "Minimum")
MAXIMUM = _sct("56851009", "Maximum")
NOT_A_NUMBER = _dcm("114000", "Not a number")
POSITIVE_INFINITY = _dcm("114002", "Positive Infinity")
NEGATIVE_INFINITY = _dcm("114001", "Negative Infinity")

# units
ONE = _ucum("1", "no units")
DAY = _ucum("d", "day")
PERCENT = _ucum("%", "percent")
MM = _ucum("mm", "millimeter")
MM3 = _ucum("mm3", "cubic millimeter")
DEGREE = _ucum("deg", "degree")
SECOND = _ucum("s", "second")
CM3 = _ucum("cm3", "cubic centimeter")
BECQUEREL = _ucum("Bq", "becquerel")
BECQUEREL_PER_MOLE = _ucum("Bq/mol", "becquerel per mole")
PIXELS = _ucum("{pixels}", "pixels")
COSINE = _ucum("{-1:1}", "range: -1 to 1")
