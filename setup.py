from pathlib import Path

from setuptools import find_packages, setup

version = {}
exec(Path("richmond/__init__.py").read_text(encoding="utf-8"), version)

setup(
    name="richmond",
    version=version["__version__"],
    description="USSD and SMS gateways to worker processes over RabbitMQ, with one command",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    packages=find_packages(include=["richmond", "richmond.*"]),
    package_data={"richmond": ["py.typed", "*.configspec"], "richmond.web": ["static/*", "static/*/*"]},
    python_requires=">=3.11",
    install_requires=[
        "gevent>=24.2,<28",
        "amqpstorm>=3.1,<4",
        "pamqp>=4.0,<5",
        "configobj>=5.0.9,<6",
        "psutil>=5.9,<8",
        "click>=8.1,<9",
        "rich>=13,<16",
        "msgspec>=0.19,<1",
        "setproctitle>=1.3,<2",
        "bottle>=0.13,<1",
        "prometheus-client>=0.20,<1",
    ],
    extras_require={
        "otel": [
            "opentelemetry-sdk>=1.27,<2",
            "opentelemetry-exporter-otlp-proto-http>=1.27,<2",
        ],
        "dev": [
            "opentelemetry-sdk>=1.27,<2",
            "opentelemetry-exporter-otlp-proto-http>=1.27,<2",
            "pytest>=8,<10",
            "pytest-timeout>=2.3,<3",
            "pytest-xdist>=3.5,<4",
            "pytest-cov>=6,<8",
            "hypothesis>=6.100,<7",
            "pika>=1.3,<2",
            "pytest-cov>=5,<8",
            "txssmi>=0.3,<1",
            "playwright>=1.48,<2",
            "axe-playwright-python>=0.1.4,<1",
            "pillow>=11,<14",
            "simpy>=4.1,<5",
            "ruff>=0.9,<1",
            "mypy>=1.14,<3",
            "import-linter>=2.1,<3",
            "types-psutil>=5.9",
        ],
        "fuzz": ["atheris>=3,<4"],
        "sim": [
            "simpy>=4.1,<5",
            "matplotlib>=3.9,<4",
        ],
        "bench": [
            "aio-pika>=9.5,<11",
            "circus>=0.18,<1",
            "gunicorn>=23,<28",
            "pika>=1.3,<2",
            "supervisor>=4.2,<5",
        ],
    },
    entry_points={"console_scripts": ["richmond = richmond.cli:main"]},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: Telecommunications Industry",
        "License :: OSI Approved :: BSD License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Topic :: Communications :: Telephony",
    ],
)
