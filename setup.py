from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (here / "fairseq_floater" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="fairseq-floater",
    version=version,
    description="FLOATER for fairseq: positions as a learned continuous dynamical system",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    author="The fairseq-floater authors",
    license="MIT",
    license_files=["LICENSE"],
    keywords=[
        "fairseq",
        "machine translation",
        "neural ordinary differential equations",
        "position encoding",
        "transformer",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["fairseq_floater", "fairseq_floater.*"]),
    package_data={"fairseq_floater": ["py.typed"]},
    python_requires=">=3.11.4,<3.13",
    install_requires=[
        # fairseq's own release does not install on Python 3.11; this build of its main branch
        # does, where it has wheels. Elsewhere install fairseq from source.
        've-fairseq==0.12.3; platform_system == "Linux" and platform_machine == "x86_64"',
        "hydra-core>=1.3.2,<1.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "omegaconf>=2.3,<2.4",
        "sacrebleu>=2.4",
        "sacremoses>=0.2",
        "safetensors>=0.4",
        "scikit-learn>=1.4",
        "scipy>=1.12",
        "sentencepiece>=0.2",
        "tokenizers>=0.20",
        "torch>=2.7",
        "torchdiffeq>=0.2.4",
    ],
    extras_require={
        "ctranslate2": ["ctranslate2>=4.8"],
        "huggingface": ["transformers>=5.24"],
        # transformers has the model from which the graphs are made.
        "onnx": ["onnx>=1.20", "onnxruntime>=1.24", "onnxscript>=0.7", "transformers>=5.24"],
        "recipes": ["pysword>=0.2.8", "regex>=2024.5.15", "subword-nmt>=0.3.8"],
        "serve": ["fastapi>=0.120", "subword-nmt>=0.3.8", "transformers>=5.24", "uvicorn>=0.38"],
        "test": [
            "ctranslate2>=4.8",
            "fastapi>=0.120",
            "hypothesis>=6.100",
            "mypy>=1.18",
            "onnxruntime>=1.24",
            "onnxscript>=0.7",
            "pytest>=8",
            "pytest-xdist>=3.8",
            "ruff>=0.6",
            "setuptools>=77",  # builds the wheel that a test installs
            "torchmetrics>=1.9",
            "transformers>=5.24",
            "uvicorn>=0.38",
        ],
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.5",
            "mkdocstrings[python]>=0.26",
            "ruff>=0.6",  # formats signatures
        ],
        "dev": ["pre-commit>=4"],
    },
    entry_points={"console_scripts": ["floater=fairseq_floater.cli:main"]},
)
