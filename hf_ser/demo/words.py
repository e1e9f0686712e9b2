"""The text of the demo alone; hf_ser.page_words has what it shares with other pages."""

EXAMPLES = (
    "The examples are recordings of actors from "
    "[CREMA-D](https://github.com/CheyneyComputerScience/CREMA-D) (Cao et al., 2014), under the "
    "[ODbL 1.0](https://opendatacommons.org/licenses/odbl/1-0/). Each is named after the emotion that the actor was "
    "asked to express."
)
PRIVACY = "Recordings stay on the machine that runs this page, which deletes them within two hours."
BUSY = "The server did not answer. It may be busy: try again in a minute."
