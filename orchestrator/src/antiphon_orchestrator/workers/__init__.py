"""Several processes behind one port: uvicorn starts and watches them, and here is what they share."""
